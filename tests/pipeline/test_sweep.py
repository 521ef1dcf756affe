"""`cxr sweep` on this machine; on a cluster: tests/cluster/. Slow, DVC starts a process for each step."""

from pathlib import Path
from typing import Any

import pytest

from cxr.core.files import read_json
from tests.sweeps import experiments_in, write_repository

pytestmark = pytest.mark.slow


def test_experiments_of_the_queue_of_dvc(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    write_repository(tmp_path)
    sweep = ("sweep", "-S", "train.lr=0.5,0.25,2", "--name", "rates")
    code, out, err = run(*sweep)
    assert code == 1
    assert err[-1] == "error: 1 of 3 experiments failed; `--retry` runs them again"
    assert [line.split()[1:3] for line in out[2:4]] == [["done", "0.2500"], ["done", "0.5000"]]
    assert any("error: the loss is no longer finite" in line for line in out)
    assert set(experiments_in(tmp_path)) == {line.split()[0] for line in out[2:4]}

    # The failed one is queued again, alone; it fails again.
    code, out, _ = run(*sweep, "--retry")
    assert code == 1
    assert out[0].startswith("3 experiments, 1 to run")
    assert len(list(Path("build/sweep").glob("*/*.json"))) == 3
    assert {read_json(path)["state"] for path in Path("build/sweep").glob("*/*.json")} == {"done", "failed"}


def test_a_search_in_clones_stops_bad_trials(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a cluster. By their log loss on val while they run: the first five may finish."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CXR_TEST_SECONDS", "2")
    write_repository(tmp_path)
    code, out, err = run("sweep", "-S", "train.lr=interval(0.1,0.9)", "--trials", "8")
    assert code == 0, err
    outcomes = [read_json(path) for path in Path("build/sweep").glob("*/*.json")]
    done = [outcome for outcome in outcomes if outcome["state"] == "done"]
    stopped = [outcome for outcome in outcomes if outcome["state"] == "stopped"]
    assert (len(done) + len(stopped), len(done) >= 5, len(stopped) >= 1) == (8, True, True)
    assert {outcome["epoch"] for outcome in stopped} == {2}
    assert sum("stopped at epoch 2" in line for line in out) == len(stopped)
    assert len(experiments_in(tmp_path)) == len(done)
    assert not [path for path in Path("build/sweep").glob("*/*") if path.is_dir()]
