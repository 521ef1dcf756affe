"""Tasks in processes of their own return the same as in this one."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch
from tqdm import tqdm

from cxr.core.errors import UserError
from cxr.core.processes import Tick, in_processes, worker_count
from cxr.params import Compute
from tests.builders import refused, settings

# Seconds that a task would take if nothing ended it; on a busy machine a worker needs minutes to start.
LONG = 600


def on(workers: int | str, threads: int = 1) -> Compute:
    return settings("compute", device="cpu", workers=workers, threads=threads)


def square(number: int, tick: Tick) -> tuple[int, int, bool]:
    for _ in range(3):
        tick()
    return number**2, torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()


def fail_second(number: int, tick: Tick) -> int:
    if number == 1:
        raise UserError("the second one fails")
    time.sleep(LONG)
    return number


def kill_second(number: int, tick: Tick) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(LONG)
    return number


class Linger:
    """Writes a file named by the worker's process id, then runs for a long time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, number: int, tick: Tick) -> None:
        (self.folder / str(os.getpid())).touch()
        time.sleep(LONG)


@pytest.mark.parametrize(("workers", "threads"), [(1, 2), (2, 2)])
def test_results_in_order_with_every_step_counted(workers: int, threads: int) -> None:
    before = torch.get_num_threads()
    torch.use_deterministic_algorithms(False)
    with tqdm(total=9, disable=False) as bar:
        results = in_processes(square, 3, on(workers, threads), bar)
    torch.set_num_threads(before)
    assert results == [(0, threads, True), (1, threads, True), (4, threads, True)]
    assert bar.n == 9


def test_nothing_to_do_takes_no_worker() -> None:
    with tqdm(disable=True) as bar:
        assert in_processes(square, 0, on("auto"), bar) == []


def test_a_gpu_does_one_task_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr.core.device.configure", lambda device, threads: torch.device("cuda"))
    with tqdm(disable=True) as bar:
        assert in_processes(lambda number, tick: os.getpid(), 2, on(2), bar) == [os.getpid()] * 2


def test_a_process_may_be_told_how_many_cores_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python 3.13 and newer are told, and the experiments of a sweep."""
    monkeypatch.setenv("PYTHON_CPU_COUNT", "6")
    assert [worker_count(on("auto", threads)) for threads in (1, 2, 9)] == [6, 3, 1]
    assert worker_count(on(2)) == 2
    monkeypatch.setenv("PYTHON_CPU_COUNT", "default")
    assert worker_count(on("auto")) == len(os.sched_getaffinity(0))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot withhold cores")
def test_as_many_workers_as_there_are_cores_for() -> None:
    cores = os.sched_getaffinity(0)
    assert worker_count(on("auto")) == len(cores)
    assert worker_count(on("auto", threads=2)) == max(1, len(cores) // 2)
    assert worker_count(on(7, threads=2)) == 7
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert worker_count(on("auto")) == worker_count(on("auto", threads=2)) == 1
    finally:
        os.sched_setaffinity(0, cores)


def test_an_error_in_one_task_ends_all_at_once() -> None:
    start = time.monotonic()
    with tqdm(disable=True) as bar, pytest.raises(UserError, match="the second one fails"):
        in_processes(fail_second, 2, on(2), bar)
    assert time.monotonic() - start < LONG


def test_a_killed_worker_is_one_line() -> None:
    start = time.monotonic()
    with tqdm(disable=True) as bar, refused("a worker process was killed", "lower compute.workers"):
        in_processes(kill_second, 2, on(2), bar)
    assert time.monotonic() - start < LONG


@pytest.mark.long
def test_a_worker_that_the_pool_does_not_watch_yet_is_missed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = ProcessPoolExecutor._spawn_process

    def late(pool: ProcessPoolExecutor) -> None:
        time.sleep(1)  # so that the pool lists its workers before this one is among them
        spawn(pool)

    monkeypatch.setattr(ProcessPoolExecutor, "_spawn_process", late)
    test_a_killed_worker_is_one_line()


@pytest.mark.long
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    parent = os.fork()
    if parent == 0:
        with tqdm(disable=True) as bar:
            in_processes(Linger(tmp_path), 2, on(2), bar)
        os._exit(0)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    os.kill(parent, 9)
    os.waitpid(parent, 0)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    wait_for(lambda: not any(is_running(worker) for worker in workers))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG / 2
    while not condition():
        assert time.monotonic() < deadline, "not true in time"
        time.sleep(0.1)


def is_running(process: int) -> bool:
    """A zombie, which has ended but was not yet waited for, does not run."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
