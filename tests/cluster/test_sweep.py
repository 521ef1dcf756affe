"""Experiments on two nodes of a Ray cluster (`make test-ray`), also when the driver or a node is killed.

Slow, DVC starts a process for each step.
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from cxr.commands.sweep.in_clone import CloneTask
from cxr.commands.sweep.outcomes import load_outcome
from cxr.commands.sweep.plan import plan
from cxr.core.engine import side_by_side
from cxr.core.files import read_json
from tests.builders import ROOT
from tests.cluster.nodes import COMPUTE, LIMIT, SECOND, kill_second, wait_for
from tests.sweeps import experiments_in, git, write_repository

pytestmark = pytest.mark.slow


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a repository with one stage: the file to which each of its starts adds a line."""
    (tmp_path / "repository").mkdir()
    write_repository(tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    monkeypatch.setenv("CXR_TEST_RECORD", str(tmp_path / "record"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "record").touch()
    return tmp_path / "record"


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cxr.cli", "sweep", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def starts(record: Path) -> list[str]:
    """The learning rate of each start of the stage."""
    return [line.split()[0] for line in record.read_text().splitlines()]


def finished() -> list[Path]:
    return list(Path("build/sweep").glob("*/*.json"))


def test_experiments_come_back_to_the_repository(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = write_repository(tmp_path)
    monkeypatch.chdir(tmp_path)
    planned = plan("rates", ["train.lr=0.25,0.5,2", "seed=0"])
    with tqdm(disable=True) as bar:
        side_by_side(CloneTask(planned, revision, 1), len(planned), COMPUTE, bar)
    outcomes = [load_outcome(revision, each.name) for each in planned]
    assert [outcome and outcome.val_nll for outcome in outcomes] == [0.25, 0.5, None]
    assert outcomes[2]
    assert any("error: the loss is no longer finite" in line for line in outcomes[2].lines)
    known = experiments_in(tmp_path)
    assert set(known) == {each.name for each in planned[:2]}
    metrics = git(tmp_path, "show", f"{known[planned[0].name]}:metrics.json")
    assert metrics == ['{"cpus": "1"}']
    # The clone of the failed one is kept, to look at; those of the others are not.
    assert [path.name for path in Path("build/sweep").glob("*/*") if path.is_dir()] == [planned[2].name]


def test_a_killed_driver_goes_on_and_a_killed_node_is_made_up_for(
    cluster: Any, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_TEST_SECONDS", "3")
    grid = ("-S", "train.lr=0.1,0.2,0.3,0.4")
    process = start(*grid)
    wait_for(lambda: len(finished()) >= 1)
    process.kill()
    process.communicate()
    before = Counter(starts(record))
    done = [read_json(path)["val_nll"] for path in finished()]
    assert 0 < len(done) < 4

    process = start(*grid)
    wait_for(lambda: len(starts(record)) >= before.total() + 2)  # one on each node
    running = Counter(starts(record))
    kill_second(cluster)
    try:
        printed, _ = process.communicate(timeout=LIMIT)
    finally:
        cluster.add_node(node_ip_address=SECOND)
    assert process.returncode == 0, printed
    assert f"4 experiments, {4 - len(done)} to run" in printed
    assert "num bytes created" not in printed  # of Ray's own log
    after = Counter(starts(record))
    assert all(after[str(rate)] == before[str(rate)] for rate in done)
    assert any(rate in running for rate in after - running)  # that of the node, once more
    assert sorted(read_json(path)["val_nll"] for path in finished()) == [0.1, 0.2, 0.3, 0.4]
    assert len(experiments_in(Path())) == 4


def test_a_search_stops_bad_trials(cluster: Any, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their log loss on val while they run: five may finish, later only those below the median."""
    monkeypatch.setenv("CXR_TEST_SECONDS", "2")
    process = start("-S", "train.lr=interval(0.1,0.9)", "--trials", "9")
    printed, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, printed
    outcomes = [read_json(path) for path in finished()]
    states = Counter(outcome["state"] for outcome in outcomes)
    assert states["done"] >= 5
    assert states["stopped"] >= 1, printed
    assert states.total() == 9
    assert {outcome["epoch"] for outcome in outcomes if outcome["state"] == "stopped"} == {2}
    assert len(experiments_in(Path())) == states["done"]
    assert not [path for path in Path("build/sweep").glob("*/*") if path.is_dir()]
