"""Tasks in processes of their own return the same as in this one."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from tqdm import tqdm

from cxr.core.errors import UserError
from cxr.training.parallel import Tick, side_by_side


def square(number: int, tick: Tick) -> tuple[int, int]:
    for _ in range(3):
        tick()
    return number**2, torch.get_num_threads()


def fail_second(number: int, tick: Tick) -> int:
    if number == 1:
        raise UserError("the second one fails")
    time.sleep(600)
    return number


class Linger:
    """Writes a file named by the worker's process id, then runs for a long time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, number: int, tick: Tick) -> None:
        (self.folder / str(os.getpid())).touch()
        time.sleep(600)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_in_order_with_every_step_counted(workers: int) -> None:
    before = torch.get_num_threads()
    with tqdm(total=9, disable=False) as bar:
        results = side_by_side(square, 3, workers, 1, bar)
    torch.set_num_threads(before)
    assert results == [(0, 1), (1, 1), (4, 1)]
    assert bar.n == 9


def test_an_error_in_one_task_ends_all_at_once() -> None:
    start = time.monotonic()
    with tqdm(disable=True) as bar, pytest.raises(UserError, match="the second one fails"):
        side_by_side(fail_second, 2, 2, 1, bar)
    assert time.monotonic() - start < 120


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    parent = os.fork()
    if parent == 0:
        with tqdm(disable=True) as bar:
            side_by_side(Linger(tmp_path), 2, 2, 1, bar)
        os._exit(0)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    os.kill(parent, 9)
    os.waitpid(parent, 0)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    wait_for(lambda: not any(is_running(worker) for worker in workers))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "not true within a minute"
        time.sleep(0.1)


def is_running(process: int) -> bool:
    """A zombie, which has ended but was not yet waited for, does not run."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
