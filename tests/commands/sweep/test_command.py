"""`cxr sweep` runs what has not run yet, and starts from HEAD alone. How experiments run on a cluster is in
tests/cluster/."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from cxr.commands.sweep import in_queue, search
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


def test_a_search_runs_as_many_trials_as_asked_for(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outcomes are pretended: those of learning rates above 0.01 fail."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    write_params(tmp_path, {"compute.workers": 1, "compute.device": "cpu"})
    workspace.call(tmp_path, "git", "init", "--quiet")
    workspace.commit(tmp_path, "start")
    done: list[tuple[str, float]] = []

    def pretend(experiment: Any, revision: str, cpus: int, watch: Any) -> Outcome:
        rate = float(experiment.changes[1].removeprefix("train.lr="))
        done.append((experiment.name, rate))
        return Outcome("failed", lines=["error: broken"]) if rate > 0.01 else Outcome("done", rate, 0.5)

    monkeypatch.setattr(search, "run_in_clone", pretend)
    sweep = ("sweep", "-S", "train.lr=tag(log,interval(1e-4,1))", "-S", "seed=1", "--trials")
    code, out, err = run(*sweep, "4")
    failed = [name for name, rate in done if rate > 0.01]
    assert len({name for name, _ in done}) == len(done) == 4
    assert 0 < len(failed) < 4
    assert code == 1
    assert err == [f"error: {len(failed)} of 4 experiments failed; `--retry` runs them again"]
    best = min(done, key=lambda each: each[1])
    assert out[2].split()[0] == best[0]
    assert out[2].split()[-2:] == ["seed=1", f"train.lr={best[1]:.4g}"]

    before = list(done)
    code, out, _ = run(*sweep, "6", "--retry")
    assert out[0].startswith(f"6 experiments, {2 + len(failed)} to run")
    again = [each for each in before if each[0] in failed]
    assert done[4 : 4 + len(failed)] == again  # with the same values


@pytest.mark.parametrize("arguments", [("--trials", "0"), ("--trials", "2", "--list", "list.txt")])
def test_a_search_takes_a_number_of_trials_and_no_list(run: Any, ran: list[str], arguments: Any) -> None:
    code, _, err = run("sweep", "-S", "seed=range(0,5)", *arguments)
    assert (code, len(err)) == (1, 1)
    assert "--trials N" in err[0]
