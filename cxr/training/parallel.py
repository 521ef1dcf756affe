"""Independent tasks in parallel, each in a process of its own with some of the CPU threads.

Small networks gain little from a second thread, but much from a second process: two members on one thread
each train faster than one after the other on two threads, and other load on the machine slows them far less.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing.queues import SimpleQueue
from typing import TypeVar

import torch
from tqdm import tqdm

T = TypeVar("T")
Tick = Callable[[], None]  # a task calls it after each step that the progress bar counts

_progress: "SimpleQueue[None]"  # in a worker process: to the progress bar of the parent


def side_by_side(
    task: Callable[[int, Tick], T], count: int, workers: int, threads: int, bar: tqdm
) -> list[T]:
    """[task(0, tick), ..., task(count - 1, tick)], at most `workers` at a time with `threads` threads each.

    With one worker the tasks run in this process, otherwise `task` and its results must be picklable. The
    first exception of a task is raised here, and the other tasks are ended.
    """
    if workers == 1:
        torch.set_num_threads(threads)
        return [task(number, bar.update) for number in range(count)]
    context = multiprocessing.get_context(
        "spawn"
    )  # PyTorch can hang in a forked process if it has used threads before
    progress = context.SimpleQueue()
    with ProcessPoolExecutor(workers, context, _start_worker, (progress, threads, os.getpid())) as pool:
        futures = [pool.submit(_run, task, number) for number in range(count)]
        try:
            _follow(futures, progress, bar)
        except BaseException:
            running = list(pool._processes.values())  # there is no public function that ends a running task
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            raise
        return [future.result() for future in futures]


def _follow(futures: list[Future], progress: "SimpleQueue[None]", bar: tqdm) -> None:
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.5)
        while not progress.empty():
            progress.get()
            bar.update()
        for future in done:
            future.result()


def _start_worker(progress: "SimpleQueue[None]", threads: int, parent: int) -> None:
    global _progress
    _progress = progress
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker with its parent, which cannot do so itself when it is killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _run(task: Callable[[int, Tick], T], number: int) -> T:
    return task(number, lambda: _progress.put(None))
