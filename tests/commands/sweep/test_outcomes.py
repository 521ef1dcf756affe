"""The table of a sweep: by log loss on val, failed experiments with their last lines."""

from pathlib import Path

import pytest

from cxr.commands.sweep.outcomes import Outcome, load_outcome, on_val, save_outcome, sweep_table
from cxr.commands.sweep.plan import Planned
from cxr.core.files import write_csv
from cxr.training.history import HISTORY_COLUMNS


def test_on_val_are_the_released_epochs(tmp_path: Path) -> None:
    rows = [
        (0, 1, 0.1, 0.9, 0.80, 0.5, 0.60, 0),
        (0, 2, 0.1, 0.9, 0.40, 0.5, 0.70, 1),
        (1, 1, 0.1, 0.9, 0.60, 0.5, 0.90, 1),
        (1, 2, 0.1, 0.9, 0.10, 0.5, 0.99, 0),
    ]
    write_csv(tmp_path / "history.csv", HISTORY_COLUMNS, rows)
    assert on_val(tmp_path / "history.csv") == pytest.approx((0.5, 0.8))


def test_the_best_on_val_comes_first_and_failures_say_why() -> None:
    names = ("worse", "bad", "best", "new", "poor")
    planned = [Planned(name, (f"seed={number}",)) for number, name in enumerate(names)]
    outcomes = [
        Outcome("done", 0.5, 0.8, 90.0, "here"),
        Outcome("failed", seconds=30.0, node="there", lines=["error: the loss is no longer finite"]),
        Outcome("done", 0.25, 0.9, 60.0, "there"),
        None,
        Outcome("stopped", seconds=45.0, node="here", epoch=3),
    ]
    lines = sweep_table(planned, outcomes)
    assert [line.split()[:2] for line in lines[1:6]] == [
        ["best", "done"],
        ["worse", "done"],
        ["poor", "stopped"],
        ["bad", "failed"],
        ["new", "missing"],
    ]
    assert "poor        stopped at epoch 3" in lines[3]
    assert lines[1].split()[2:] == ["0.2500", "0.9000", "1.0", "there", "seed=2"]
    assert lines[-2:] == ["bad failed; its last lines:", "    error: the loss is no longer finite"]


def test_outcomes_belong_to_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = Outcome("failed", seconds=1.5, node="there", lines=["one", "two"])
    save_outcome("a" * 40, "name", outcome)
    assert load_outcome("a" * 40, "name") == outcome
    assert load_outcome("b" * 40, "name") is None
