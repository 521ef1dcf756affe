"""Tasks on two nodes of a Ray cluster (`make test-ray`). Slow, for a cluster takes seconds to start."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from cxr.core.engine import Tick, side_by_side
from cxr.core.errors import UserError
from tests.builders import refused
from tests.cluster.nodes import COMPUTE, LIMIT, wait_for

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = pytest.mark.slow


def where(number: int, tick: Tick) -> str:
    tick()
    return str(ray.get_runtime_context().get_node_id())


def fail_second(number: int, tick: Tick) -> int:
    if number == 1:
        raise UserError("the second one fails")
    time.sleep(LIMIT)
    return number


def end(number: int, tick: Tick) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class WaitForAll:
    """Ends when all four tasks run or have run: so that they run on all nodes."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def __call__(self, number: int, tick: Tick) -> str:
        (self.folder / str(number)).touch()
        wait_for(lambda: len(list(self.folder.iterdir())) >= self.count)
        return where(number, tick)


def test_tasks_run_on_both_nodes_and_their_steps_count(cluster: Any, tmp_path: Path) -> None:
    with tqdm(total=4, disable=False) as bar:
        nodes = side_by_side(WaitForAll(tmp_path, 2), 4, COMPUTE, bar)
    assert len(set(nodes)) == 2
    assert bar.n == 4


def test_an_error_of_a_task_is_raised_here_at_once(cluster: Any) -> None:
    start = time.monotonic()
    with tqdm(disable=True) as bar, refused("the second one fails"):
        side_by_side(fail_second, 2, COMPUTE, bar)
    assert time.monotonic() - start < LIMIT


def test_a_process_that_is_killed_again_and_again_is_one_line(cluster: Any) -> None:
    with tqdm(disable=True) as bar, refused("was killed 4 times", "--num-cpus"):
        side_by_side(end, 1, COMPUTE, bar)
