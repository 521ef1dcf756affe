"""Bounded concurrency: requests beyond the capacity are rejected at once, and told when to come again."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from service.errors import busy

WORKERS = 2  # while one decodes a radiograph, the other computes; ONNX Runtime has threads of its own
FIRST_GUESS = 0.05  # seconds of a call, before one has been measured
# Full once, the service rejects until half of the places are free, whoever comes straight back from an
# answer, too. It tells few of those rejected to come in the same second: an eighth as many as these places at
# most, and this share of the requests that are answered in one. So they fill it again slowly, and few of them
# come while it rejects (simulated in tests/service/test_pool.py).
RETURNING = 0.05
POLL = 0.02  # seconds

P = ParamSpec("P")
T = TypeVar("T")


class Work:
    """in_flight: requests queued or running, at most `capacity`. full: whether the next one is rejected."""

    def __init__(self, queue: int, timeout: int) -> None:
        """queue: requests that may wait. timeout: seconds for an answer."""
        self.capacity, self.timeout, self.in_flight, self.full = WORKERS + queue, timeout, 0, False
        self._reopens = self.capacity // 2
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="work")
        self._seconds = FIRST_GUESS  # of a call, a moving average
        self._promised = 0.0  # when the last of those rejected was told to come again

    def check_room(self) -> None:
        """Raises `Problem` 503 if a request that starts now would be rejected."""
        if self.full:
            detail = f"The service is at capacity ({self.capacity} requests)."
            raise busy(f"{detail} Try again in a moment.", self._retry_after())

    async def room(self) -> None:
        """Returns when a request would be admitted. Raises `Problem` 503 if none is after `timeout`."""
        end = time.monotonic() + self.timeout
        while self.full and time.monotonic() < end:
            await asyncio.sleep(POLL)
        self.check_room()

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """One request more in flight. Raises `Problem` 503 if the service is at capacity."""
        self.check_room()
        self.in_flight += 1
        self.full = self.in_flight >= self.capacity
        try:
            yield
        finally:
            self.in_flight -= 1
            self.full = self.full and self.in_flight > self._reopens

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args)` in a thread. Raises `Problem` 503 after `timeout`: a call that has not started is
        cancelled, the result of one that has is dropped."""

        def timed() -> T:
            start = time.monotonic()
            try:
                return function(*args, **kwargs)
            finally:
                self._seconds += 0.1 * (time.monotonic() - start - self._seconds)

        future = self._pool.submit(timed)
        try:
            async with asyncio.timeout(self.timeout):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            detail = f"The answer took longer than {self.timeout} s. Try again in a moment."
            raise busy(detail, self._retry_after()) from None

    def close(self) -> None:
        """Waits for the calls that have started and cancels the others."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _retry_after(self) -> int:
        """Whole seconds, 1 or more."""
        now = time.monotonic()
        a_second = min(RETURNING * WORKERS / self._seconds, (self.capacity - self._reopens) / 8)
        self._promised = max(self._promised, now) + 1 / a_second
        return math.ceil(self._promised - now)
