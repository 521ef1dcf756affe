"""A bounded number of requests at work: the others are told at once to come back."""

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
    """inside: how many requests are uploading, waiting or computed."""

    def __init__(self, queue: int, timeout: int) -> None:
        self.places, self.timeout, self.inside = WORKERS + queue, timeout, 0
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="work")

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Raises `Problem` 503 if all places are taken."""
        if self.inside >= self.places:
            raise busy(f"All {self.places} places are taken. Try again in a moment.")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args)` in a thread. Raises `Problem` 503 when that takes too long; then a call that has
        not begun never does, and the result of one that has is dropped."""
        future = self._pool.submit(function, *args, **kwargs)
        try:
            async with asyncio.timeout(self.timeout):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise busy(f"The answer took longer than {self.timeout} s. Try again in a moment.") from None

    def close(self) -> None:
        """Waits for the calls that have begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)
