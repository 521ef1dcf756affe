"""Independent tasks in parallel, in worker processes whose number changes no result.

Small networks gain little from a second thread, but much from a second process: two members on one thread
each train faster than one after the other on two threads, and other load on the machine slows them far less.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import connection
from multiprocessing.queues import SimpleQueue
from typing import TypeVar

from tqdm import tqdm

from cxr.core.errors import UserError
from cxr.params import Compute

T = TypeVar("T")
Tick = Callable[[], None]  # a task calls it after each step that the progress bar counts
Work = Callable[[int, Tick], None]

# What to do when a worker was killed.
APART = "lower compute.workers in params.yaml"
TOGETHER = "run again, which goes on after the last epoch, or lower train.batch_size in params.yaml first"
CPUS = "PYTHON_CPU_COUNT"  # CPUs that a process may use, as Python 3.13 and newer read it

_progress: "SimpleQueue[None]"  # in a worker process: to the progress bar of the parent


def worker_count(compute: Compute) -> int:
    """For "auto" as many workers as this process has cores for, at least one."""
    if compute.workers != "auto":
        return compute.workers
    # Python 3.11 can ask on Linux alone which cores a process may use, of a container for example.
    stated = os.environ.get(CPUS, "")
    if stated.isdecimal():
        return max(1, int(stated) // compute.threads)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // compute.threads)


def in_processes(
    task: Callable[[int, Tick], T], count: int, compute: Compute, bar: tqdm, together: bool = False
) -> list[T]:
    """`cxr.core.engine.side_by_side` on this machine: as many tasks at a time as `compute` says, and one on
    a GPU; with `together` `cxr.core.engine.all_at_once`, in as many workers as there are tasks.

    With one worker the tasks run in this process. PyTorch is configured in the same way in either. Raises
    `UserError` if a worker is killed.
    """
    cuda = _configure(compute) == "cuda"
    workers = count if together else 1 if cuda else min(count, worker_count(compute))
    advice = TOGETHER if together else APART
    return in_workers(task, count, workers, bar, partial(_configure, compute), advice)


def in_workers(
    task: Callable[[int, Tick], T],
    count: int,
    workers: int,
    bar: tqdm,
    start: Callable[[], object] | None = None,
    advice: str = APART,
) -> list[T]:
    """`in_processes` of tasks that need no PyTorch. start: called in each worker before its first task, but
    not in this process, where the tasks run if there is one worker. advice: if a worker is killed."""
    if workers <= 1:
        return [task(number, bar.update) for number in range(count)]
    context = multiprocessing.get_context(
        "spawn"
    )  # PyTorch can hang in a forked process if it has used threads before
    progress = context.SimpleQueue()
    with ProcessPoolExecutor(workers, context, _start_worker, (progress, start, os.getpid())) as pool:
        futures = [pool.submit(_run, task, number) for number in range(count)]
        try:
            _follow(pool, futures, progress, bar, advice)
        except BaseException:
            running = list(pool._processes.values())  # there is no public function that ends a running task
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            raise
        return [future.result() for future in futures]


def _configure(compute: Compute) -> str:
    """The type of the device: cpu or cuda."""
    from cxr.core.device import configure  # PyTorch, which a task of `in_workers` need not have

    return configure(compute.device, compute.threads).type


def _follow(
    pool: ProcessPoolExecutor, futures: list[Future], progress: "SimpleQueue[None]", bar: tqdm, advice: str
) -> None:
    killed = UserError(f"a worker process was killed, as the system does when memory is short; {advice}")
    pending = set(futures)
    while pending:
        # The pool notices the end of a worker that starts after it last looked only at the next result.
        ended = connection.wait([worker.sentinel for worker in pool._processes.values()], timeout=0)
        done, pending = wait(pending, timeout=0.5)
        while not progress.empty():
            progress.get()
            bar.update()
        for future in done:
            try:
                future.result()
            except BrokenProcessPool:
                raise killed from None
        if ended:
            raise killed


def _start_worker(progress: "SimpleQueue[None]", start: Callable[[], object] | None, parent: int) -> None:
    global _progress
    _progress = progress
    if start:
        start()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker with its parent, which cannot do so itself when it is killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _run(task: Callable[[int, Tick], T], number: int) -> T:
    return task(number, lambda: _progress.put(None))
