"""Bounded concurrency: requests beyond the capacity are answered with 503 at once."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from service.errors import busy

WORKERS = 2  # while one decodes a radiograph, the other computes; ONNX Runtime has threads of its own

P = ParamSpec("P")
T = TypeVar("T")


class Work:
    """in_flight: requests that are uploading, queued or running, at most `capacity`."""

    def __init__(self, queue: int, timeout: int) -> None:
        """queue: requests that may wait. timeout: seconds for an answer."""
        self.capacity, self.timeout, self.in_flight = WORKERS + queue, timeout, 0
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="work")

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """One request more in flight. Raises `Problem` 503 if the service is at capacity."""
        if self.in_flight >= self.capacity:
            raise busy(f"The service is at capacity ({self.capacity} requests). Try again in a moment.")
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args)` in a thread. Raises `Problem` 503 after `timeout`: a call that has not started is
        cancelled, the result of one that has is dropped."""
        future = self._pool.submit(function, *args, **kwargs)
        try:
            async with asyncio.timeout(self.timeout):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise busy(f"The answer took longer than {self.timeout} s. Try again in a moment.") from None

    def close(self) -> None:
        """Waits for the calls that have started and cancels the others."""
        self._pool.shutdown(wait=True, cancel_futures=True)
