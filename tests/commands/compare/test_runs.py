"""What a run committed to Git is read as it was, from a clone or a bare one; what is missing is named."""

import subprocess
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from cxr.commands.compare import runs
from cxr.commands.compare.runs import EvaluationsOnTest, evaluations_on_test, read_run
from cxr.core.files import read_json
from cxr.inference import predictions
from cxr.reports.ledger import PATH
from scripts import workspace
from tests.builders import ROOT, drawn_predictions, refused, write_run


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """Three commits: `empty` has no results, `first` has, `main` has others and another learning rate."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    workspace.call(folder, "git", "init", "--quiet", "--initial-branch=main")
    workspace.commit(folder, "nothing yet")
    workspace.call(folder, "git", "tag", "empty")
    write_run(drawn_predictions([1.0, 1.2]))
    workspace.commit(folder, "first")
    workspace.call(folder, "git", "tag", "first")
    write_run(drawn_predictions([1.4, 1.5], seed=1), {"train.lr": 0.01})
    workspace.commit(folder, "second")
    return folder


def head(folder: Path, revision: str = "HEAD") -> str:
    return subprocess.run(
        ["git", "rev-parse", revision], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def write_ledger(readings: int, test_set: str = "pneumoniamnist") -> None:
    row = {"date": date(2026, 1, 1), "kind": "recipe", "run": "x", "decision": "none", "source": "x"}
    PATH.parent.mkdir(exist_ok=True)
    YAML().dump({"test_set": test_set, "readings": [row.copy() for _ in range(readings)]}, PATH)


def test_a_revision_is_read_as_it_was(repository):
    run = read_run("first")
    np.testing.assert_allclose(run.predictions.members, drawn_predictions([1.0, 1.2]).members, rtol=1e-6)
    assert (run.name, run.commit) == ("first", head(repository, "first"))
    assert run.params["train.lr"] == 0.003
    assert run.test["auc"]["mean"] > 0.5


def test_the_workspace_is_read_as_it_is_now(repository):
    write_run(drawn_predictions([2.0, 2.1, 2.2], seed=2), {"train.epochs": 5})
    run = read_run(None)
    assert (run.name, run.commit, len(run.predictions.members)) == ("the workspace", None, 3)
    assert run.params["train.epochs"] == 5
    assert len(read_run("main").predictions.members) == 2


def test_a_bare_clone_is_enough_for_two_revisions(repository, tmp_path, monkeypatch):
    subprocess.run(["git", "clone", "--quiet", "--bare", ".", tmp_path / "bare.git"], check=True)
    expected = read_run("first")
    monkeypatch.chdir(tmp_path / "bare.git")
    a, b = read_run("first"), read_run("main")
    assert np.array_equal(a.predictions.members, expected.predictions.members)
    assert evaluations_on_test(a, b) == EvaluationsOnTest(earlier=1, ledger=False)
    with refused("metrics/predictions.csv: no such file in the workspace", "name two revisions"):
        read_run(None)


@pytest.mark.parametrize("revision", ["nowhere", "--all", "HEAD~9", "HEAD:params.yaml"])
def test_unknown_revision_is_an_error(repository, revision):
    with refused(f"{revision}: no such Git revision here"):
        read_run(revision)


def test_an_experiment_is_named_as_dvc_names_it(repository):
    """DVC keeps an experiment as refs/exps/<2>/<38>/<name>, with the digits of the commit it was run on."""
    parent = head(repository, "main")
    reference = f"refs/exps/{parent[:2]}/{parent[2:]}/threshold"
    subprocess.run(["git", "update-ref", reference, "first"], check=True)
    assert read_run("threshold").commit == head(repository, "first")
    other = head(repository, "first")
    subprocess.run(["git", "update-ref", f"refs/exps/{other[:2]}/{other[2:]}/threshold", "main"], check=True)
    with refused("threshold: the name of 2 experiments", parent[:7], other[:7]):
        read_run("threshold")


def test_revision_without_results_is_an_error(repository):
    with refused("metrics/predictions.csv: cannot be read at empty", "the pipeline has run"):
        read_run("empty")


def test_folder_without_a_repository_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with refused(str(tmp_path), "not in a Git repository"):
        read_run("main")


def test_machine_without_git_is_an_error(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with refused("git: no such program"):
        read_run("main")


@pytest.mark.parametrize("path", ["metrics/predictions.csv", "metrics/test.json", "params.yaml"])
@pytest.mark.parametrize("content", ["", "[1, 2", "<<<<<<< HEAD\n", "row,split,label\n1,val,normal\n"])
def test_a_file_that_the_pipeline_did_not_write_is_an_error(repository, path, content):
    Path(path).write_text(content)
    with refused(f"{path}: at the workspace it is not a file that this pipeline wrote"):
        read_run(None)


def test_predictions_without_members_or_with_nan_are_an_error(repository):
    text = predictions.PATH.read_text()
    for broken in (text.replace("m0_p_", "x_"), text.replace(text.splitlines()[3].split(",")[3], "nan")):
        predictions.PATH.write_text(broken)
        with refused("metrics/predictions.csv: at the workspace"):
            read_run(None)


def test_parameters_that_differ(repository):
    a, b = read_run("first"), read_run("main")
    assert runs.changed_params(a, b) == {"train.lr": (0.003, 0.01)}
    assert runs.changed_params(b, b) == {}
    a.params["old.key"] = 1
    assert runs.changed_params(a, b)["old.key"] == (1, None)


def test_the_released_threshold_is_read(repository):
    write_run(drawn_predictions([1.0, 1.2]), threshold=0.31)
    run = read_run(None)
    assert (run.threshold, run.stated) == (0.31, True)
    Path("metrics/details.json").unlink()
    run = read_run(None)
    assert (run.threshold, run.stated) == (None, False)


def test_the_hash_of_the_weights_is_that_of_the_lock_file(repository):
    assert read_run(None).weights is None
    out = {"path": "models/classifier.safetensors", "md5": "abc"}
    YAML().dump({"stages": {"train": {"outs": [{"path": "x", "md5": "y"}, out]}}}, Path("dvc.lock"))
    assert read_run(None).weights == "abc"
    assert read_run("main").weights is None
    Path("dvc.lock").write_text("<<<<<<< HEAD\n")
    assert read_run(None).weights is None


def test_test_set_evaluations_are_counted(repository):
    """Commits that change something else do not count, nor does the one that added B's results."""
    Path("notes.txt").write_text("nothing")
    workspace.commit(repository, "no result")
    first, main, now = (read_run(name) for name in ("first", "main", None))
    assert evaluations_on_test(first, main).earlier == 1
    assert evaluations_on_test(first, now).earlier == 1  # the workspace is what HEAD has
    write_run(drawn_predictions([1.6, 1.7], seed=5))
    assert evaluations_on_test(first, read_run(None)).earlier == 2


def test_two_revisions_can_be_read_from_a_subfolder(repository, monkeypatch):
    monkeypatch.chdir(repository / "metrics")
    first, main = read_run("first"), read_run("main")
    assert evaluations_on_test(first, main).earlier == 1


def test_evaluations_on_merged_branches_count(repository):
    workspace.call(repository, "git", "checkout", "--quiet", "-b", "side", "first")
    write_run(drawn_predictions([1.6, 1.7], seed=5))
    workspace.commit(repository, "side result")
    # Merged, but main's result is kept: Git's usual log of the file leaves the branch out.
    workspace.call(repository, "git", "checkout", "--quiet", "main")
    name = ("-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false")
    workspace.call(repository, "git", *name, "merge", "--quiet", "-s", "ours", "-m", "merge", "side")
    assert evaluations_on_test(read_run("first"), read_run("main")).earlier == 2


def test_readings_are_those_of_the_ledger_at_the_base(repository, monkeypatch):
    """Whatever Git counts, and whatever B's side of the history adds to the ledger."""
    write_ledger(readings=5)
    workspace.commit(repository, "a ledger")
    write_ledger(readings=6)
    workspace.commit(repository, "a reading more")
    base, now = read_run("main~1"), read_run(None)
    assert evaluations_on_test(base, now) == EvaluationsOnTest(earlier=5, ledger=True)
    monkeypatch.chdir(repository / "metrics")
    assert evaluations_on_test(read_run("main"), base) == EvaluationsOnTest(earlier=6, ledger=True)
    assert evaluations_on_test(read_run("first"), base) == EvaluationsOnTest(earlier=1, ledger=False)


def test_ledger_of_another_test_set_does_not_count(repository):
    write_ledger(readings=5, test_set="phantom")
    workspace.commit(repository, "a ledger")
    assert not evaluations_on_test(read_run("main"), read_run(None)).ledger


def test_broken_ledger_is_an_error(repository):
    write_ledger(readings=0)
    workspace.commit(repository, "a ledger without readings")
    with refused("docs/test_ledger.yaml: readings must be a list of one row or more (at main)"):
        evaluations_on_test(read_run("main"), read_run(None))


def test_shallow_clone_gives_a_lower_bound(repository, tmp_path, monkeypatch):
    url = f"file://{repository}"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", url, tmp_path / "shallow"], check=True)
    monkeypatch.chdir(tmp_path / "shallow")
    main = read_run("main")
    assert evaluations_on_test(main, main) == EvaluationsOnTest(earlier=0, ledger=False)


def test_committed_results_of_this_repository_can_be_read(monkeypatch):
    """The pipeline writes what the comparison reads."""
    monkeypatch.chdir(ROOT)
    run = read_run(None)
    assert run.test == read_json("metrics/test.json")
    assert set(run.predictions.splits) == {"val", "test"}
