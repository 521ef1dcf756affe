"""Bounded concurrency: requests beyond the capacity are rejected at once, and told when to come again."""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from service.errors import Problem, busy

WORKERS = 2  # while one decodes a radiograph, the other computes; ONNX Runtime has threads of its own
FIRST_GUESS = 0.05  # seconds of a call, before one has been measured
PATIENCE = 0.5  # seconds for which a place is kept for a request that was told to come now

P = ParamSpec("P")
T = TypeVar("T")


class Work:
    """in_flight: requests that are queued or running, at most `capacity`."""

    def __init__(self, queue: int, timeout: int) -> None:
        """queue: requests that may wait. timeout: seconds for an answer."""
        self.capacity, self.timeout, self.in_flight = WORKERS + queue, timeout, 0
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="work")
        self._seconds = FIRST_GUESS  # of a call, a moving average
        self._promises: deque[float] = deque()  # when rejected requests were told to come again, ascending

    @property
    def full(self) -> bool:
        return self.in_flight >= self.capacity

    def check_room(self) -> None:
        """Raises `Problem` 503 if a request that starts now would find no place."""
        if self.full:
            raise self._full()

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """One request more in flight. Raises `Problem` 503 if the service is at capacity."""
        now = time.monotonic()
        while self._promises and self._promises[0] < now - PATIENCE:
            self._promises.popleft()
        if self._promises and self._promises[0] <= now:
            kept = 0  # this may be the request that was promised a place
            self._promises.popleft()
        else:  # at most half, so that the workers never wait for requests that do not come
            kept = min(sum(promise < now + 1 for promise in self._promises), self.capacity // 2)
        if self.in_flight >= self.capacity - kept:
            raise self._full()
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

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
            raise busy(detail, self._promise()) from None

    def close(self) -> None:
        """Waits for the calls that have started and cancels the others."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _full(self) -> Problem:
        detail = f"The service is at capacity ({self.capacity} requests). Try again in a moment."
        return busy(detail, self._promise())

    def _promise(self) -> int:
        """Whole seconds after which a place will be free: of those rejected, no more are told to come in one
        second than half of what the workers do in it, and than half of what the queue holds."""
        now = time.monotonic()
        a_second = max(1, min(int(WORKERS / self._seconds), self.capacity) // 2)
        wait = 1 + len(self._promises) // a_second + int(self._seconds / WORKERS)
        latest = self._promises[-1] if self._promises else 0.0
        self._promises.append(max(latest, now + wait))
        return math.ceil(self._promises[-1] - now - 1e-6)
