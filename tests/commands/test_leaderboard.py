"""`cxr leaderboard`: experiments with equal parameters are one line, with the variability over seeds."""

import json
import shutil
import statistics

import pytest

from cxr.commands.leaderboard import Experiment, call, experiments, leaderboard
from tests.builders import refused, write_params
from tests.repository import Repository


def row(name, auc, *, seed=0, **params):
    metrics = {"auc.mean": auc - 0.01, "auc.ensemble": auc}
    return Experiment(
        name, {"seed": seed, "train.lr": 0.003, "model.backbone": "compact_cnn"} | params, metrics
    )


def test_seeds_are_one_line_and_the_best_comes_first():
    seeds = [
        row(f"exp-{seed}", auc, seed=seed, **{"train.lr": 0.01})
        for seed, auc in enumerate((0.95, 0.97, 0.99))
    ]
    lines = leaderboard([row("main", 0.90), *seeds])
    assert [line.split()[0] for line in lines] == ["parameters", "train.lr=0.01", "as"]
    variability = statistics.stdev((0.95, 0.97, 0.99))
    assert lines[1].split() == [
        "train.lr=0.01",
        "3",
        "0.9600",
        "+-",
        f"{variability:.4f}",
        "0.9700",
        "+-",
        f"{variability:.4f}",
    ]
    assert lines[2].split()[-2:] == ["0.8900", "0.9000"]
    assert "+-" not in lines[2]  # one run has no standard deviation


def test_a_seed_that_ran_twice_counts_once():
    lines = leaderboard([row("main", 0.9), row("again", 0.9), row("other", 0.8, seed=1)])
    assert lines[1].split()[2:4] == ["HEAD", "2"]


def test_other_parameters_are_another_line():
    lines = leaderboard(
        [row("main", 0.9), row("net", 0.8, **{"model.backbone": "small_cnn", "train.lr": 0.1})]
    )
    assert len(lines) == 3
    assert lines[2].startswith("model.backbone=small_cnn, train.lr=0.1")


def test_metrics_that_some_rows_lack_are_left_out():
    three = Experiment("three", {"seed": 0}, {"accuracy.mean": 0.7})
    two = Experiment("two", {"seed": 0, "x": 1}, {"auc.mean": 0.9, "accuracy.mean": 0.8})
    assert leaderboard([two, three])[0].split() == ["parameters", "seeds", "accuracy.mean"]


def test_no_metrics_yet_is_an_error(monkeypatch):
    monkeypatch.setattr("cxr.commands.leaderboard.experiments", list)
    with refused("no metrics at HEAD", "dvc exp run"):
        call(None)


def test_run_at_head_is_read_from_dvc(tiny_run, monkeypatch):
    """Read by the real `dvc exp show` of a real run."""
    monkeypatch.chdir(tiny_run.path)
    head = experiments()[0]
    assert str(head.params["train.epochs"]) == "2"
    test = json.loads((tiny_run.path / "metrics/test.json").read_text())
    assert head.metrics["auc.mean"] == pytest.approx(test["auc"]["mean"])
    assert head.metrics["accuracy.ensemble"] == pytest.approx(test["accuracy"]["ensemble"])


def test_an_unfinished_run_never_has_the_metrics_of_another(monkeypatch, tmp_path):
    """DVC shows the metrics that lie in the folder of a running experiment: those of the run before it."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, {})
    head = {"rev": "main", "Experiment": None, "State": None, "auc.mean": 0.9072, "train.lr": 0.003}
    rows = [
        head,
        head | {"rev": "aaaaaaa", "Experiment": "slow", "State": "Running", "train.lr": 0.09},
        head | {"rev": "bbbbbbb", "Experiment": "later", "State": "Queued", "train.lr": 0.5},
        head | {"rev": "ccccccc", "Experiment": "broken", "State": "Failed", "train.lr": 99.0},
        head
        | {"rev": "ddddddd", "Experiment": "done", "State": "Success", "auc.mean": 0.672, "train.lr": 0.1},
    ]
    monkeypatch.setattr("dvc.api.exp_show", lambda: rows)
    lines = leaderboard(experiments())
    assert [line.split()[-1] for line in lines[1:3]] == ["0.9072", "0.6720"]
    assert lines[3:] == [
        "",
        "Without results:",
        "running  slow  train.lr=0.09",
        "queued   later  train.lr=0.5",
        "failed   broken  train.lr=99",
    ]
    assert sum("0.9072" in line for line in lines) == 1


def test_a_metric_of_zero_is_a_metric(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, {})
    rows = [{"rev": "main", "Experiment": None, "auc.mean": 0.5, "accuracy.mean": 0.0}]
    monkeypatch.setattr("dvc.api.exp_show", lambda: rows)
    assert experiments()[0].metrics == {"auc.mean": 0.5, "accuracy.mean": 0.0}


def test_a_queued_run_is_listed_as_dvc_knows_it(tiny_run, tmp_path, monkeypatch):
    copy = tmp_path / "repository"
    shutil.copytree(tiny_run.path, copy, symlinks=True)
    Repository(copy).run("dvc", "exp", "run", "--queue", "--name", "waiting", "-S", "train.lr=0.09")
    monkeypatch.chdir(copy)
    lines = leaderboard(experiments())
    assert lines[-2:] == ["Without results:", "queued   waiting  train.lr=0.09"]


def test_runs_on_other_test_sets_are_not_ranked_together():
    own = row("own", 1.0, **{"download.source": "folder"})
    head = row("main", 0.9, **{"download.source": "pneumoniamnist"})
    better = row("better", 0.95, **{"download.source": "pneumoniamnist", "train.lr": 0.01})
    lines = leaderboard([head, own, better])
    assert [line.split()[0] for line in lines[1:3]] == ["train.lr=0.01", "as"]
    assert lines[4].startswith("On another test set (download.source=folder), not comparable")
    assert lines[6].startswith("download.source=folder")
    assert len(lines) == 7


def test_outside_of_the_repository_is_one_line(run):
    message = "error: params.yaml: no such file; run from the repository's root"
    assert run("leaderboard") == (1, [], [message])
