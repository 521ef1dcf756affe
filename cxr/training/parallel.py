"""Independent tasks side by side, each in a process of its own with its share of the CPU threads.

Small networks gain little from a second thread but everything from a second process: two members on one
thread each train faster than one member on two, and a busy neighbour on the machine slows them far less.
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
Tick = Callable[[], None]  # what a task calls after each step that the progress bar counts

_progress: "SimpleQueue[None]"  # in a worker process: the way to the parent's progress bar


def side_by_side(
    task: Callable[[int, Tick], T], count: int, workers: int, threads: int, bar: tqdm
) -> list[T]:
    """[task(0, tick), ..., task(count - 1, tick)], at most `workers` at a time with `threads` threads each.

    `task` and its results must be picklable unless `workers` is 1, when it runs in this process. The first
    exception of a task is raised here and the others are not waited for.
    """
    if workers == 1:
        torch.set_num_threads(threads)
        return [task(number, bar.update) for number in range(count)]
    context = multiprocessing.get_context("spawn")  # a forked PyTorch that has used its threads can hang
    progress = context.SimpleQueue()
    with ProcessPoolExecutor(workers, context, _start_worker, (progress, threads, os.getpid())) as pool:
        futures = [pool.submit(_run, task, number) for number in range(count)]
        try:
            _follow(futures, progress, bar)
        except BaseException:
            running = list(pool._processes.values())  # there is no public way to end a running task
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
    """A killed parent cannot end its workers; without this they would train on, unseen."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _run(task: Callable[[int, Tick], T], number: int) -> T:
    return task(number, lambda: _progress.put(None))
