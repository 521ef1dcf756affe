"""Experiments on two nodes of a Ray cluster (`make test-ray`). Slow, DVC starts a process for each step."""

from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from cxr.commands.sweep.in_clone import CloneTask
from cxr.commands.sweep.outcomes import load_outcome
from cxr.commands.sweep.plan import plan
from cxr.core.engine import side_by_side
from tests.cluster.nodes import COMPUTE
from tests.sweeps import experiments_in, git, write_repository

pytestmark = pytest.mark.slow


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
