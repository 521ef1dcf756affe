"""`cxr sweep` runs what has not run yet, and starts from HEAD alone. How experiments run on a cluster is in
tests/cluster/."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from cxr.commands.sweep import in_queue
from cxr.commands.sweep.outcomes import Outcome, save_outcome
from scripts import workspace
from tests.builders import write_params

GRID = ("sweep", "-S", "seed=0,1,2")


@pytest.fixture
def ran(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In a repository that holds params.yaml alone: the changes of each experiment that would have run. For
    seed=1 it fails at first."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    write_params(tmp_path, {})
    workspace.call(tmp_path, "git", "init", "--quiet")
    workspace.commit(tmp_path, "start")
    done: list[str] = []

    def pretend(planned: Any, revision: str, bar: Any) -> None:
        for experiment in planned:
            fails = experiment.changes == ("seed=1",) and "seed=1" not in done
            done.extend(experiment.changes)
            outcome = Outcome("failed", lines=["error: broken"]) if fails else Outcome("done", 0.5, 0.5)
            save_outcome(revision, experiment.name, outcome)

    monkeypatch.setattr(in_queue, "run_in_queue", pretend)
    return done


def test_what_is_done_does_not_run_again_and_what_failed_on_request(run: Any, ran: list[str]) -> None:
    code, out, err = run(*GRID)
    assert code == 1
    assert "    error: broken" in out
    assert err == ["error: 1 of 3 experiments failed; `--retry` runs them again"]
    assert ran == ["seed=0", "seed=1", "seed=2"]
    assert run(*GRID)[0] == 1
    assert len(ran) == 3
    code, out, _ = run("sweep", "-S", "seed=range(0,4)", "--retry")
    assert code == 0
    assert out[0].startswith("4 experiments, 2 to run")
    assert ran[3:] == ["seed=1", "seed=3"]


def test_experiments_start_from_what_is_committed(run: Any, ran: list[str]) -> None:
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("seed: 0", "seed: 7", 1))
    code, _, err = run(*GRID)
    assert (code, len(err)) == (1, 1)
    assert "params.yaml: changed since HEAD" in err[0]
    subprocess.run(["git", "checkout", "--quiet", "params.yaml"], check=True)
    path.with_name("untracked").touch()
    run(*GRID)
    assert ran  # what Git does not track is in no experiment anyway


def test_without_changes_it_says_how_to_name_them(run: Any, ran: list[str]) -> None:
    code, _, err = run("sweep")
    assert (code, len(err)) == (1, 1)
    assert "cxr sweep -S train.lr=0.001,0.003" in err[0]
