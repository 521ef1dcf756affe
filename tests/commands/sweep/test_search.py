"""A search goes on after an interruption, learns from val alone, and stops what is worse than the median."""

import statistics
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from cxr.commands.sweep.outcomes import Outcome
from cxr.commands.sweep.search import ParameterSearch, early_stopping
from cxr.commands.sweep.space import Space
from cxr.core.files import write_csv
from cxr.training.history import HISTORY_COLUMNS

SPACE = Space(("train.members=2",), {"train.lr": FloatDistribution(1e-5, 1e-1, log=True)}, "0" * 8)
# Log loss on val after each epoch, of trials that have finished.
CURVES = ((0.9, 0.5, 0.4), (0.8, 0.6, 0.3), (0.7, 0.7, 0.5), (0.6, 0.4, 0.2), (0.5, 0.8, 0.6))


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ParameterSearch:
    monkeypatch.chdir(tmp_path)
    return ParameterSearch("rates", "a" * 40, SPACE)


def save_history(path: Path, curve: tuple[float, ...], finished: bool = False) -> None:
    """Of two members, of which the second is better and one epoch behind."""
    rows = [(0, number, 0, 0, value, 0, 0) for number, value in enumerate(curve, 1)]
    rows += [(1, number, 0, 0, value / 2, 0, 0) for number, value in enumerate(curve[:-1], 1)]
    released = [int(finished and row[1] == len(curve)) for row in rows]
    write_csv(path, HISTORY_COLUMNS, [(*row, mark) for row, mark in zip(rows, released, strict=True)])


def test_a_trial_goes_on_with_its_values_and_a_failed_one_runs_again(search: ParameterSearch) -> None:
    first = search.propose(0).params
    assert 1e-5 <= first["train.lr"] <= 1e-1
    assert search.propose(1).params != first
    assert search.propose(0).params == first  # as after a killed node
    assert [each.changes for each in search.planned(range(3))] == [
        search.space.changes(search.propose(number).params) for number in range(2)
    ] + [()]
    search.tell(0, Outcome("failed", lines=["error"]))
    again = search.propose(0)
    assert again.params == first
    search.tell(0, Outcome("done", 0.25, 0.9))
    search.tell(0, Outcome("done", 0.75, 0.9))  # a driver that goes on tells it once more
    assert again.study.best_value == 0.25
    assert len(again.study.trials) == 3


def test_the_search_moves_to_the_lowest_log_loss(search: ParameterSearch) -> None:
    """The best learning rate is 1e-2 here: those of TPE, after ten random ones, are nearer to it."""
    rates = []
    for number in range(25):
        rate = search.propose(number).params["train.lr"]
        rates.append(abs(rate / 1e-2 - 1))
        search.tell(number, Outcome("done", rates[-1], 0.5))
    assert statistics.median(rates[20:]) < statistics.median(rates[:10])


@pytest.mark.parametrize("curve", [(0.9, 0.61), (0.55, 0.9), (0.9, 0.6), (0.9, 0.59)])
def test_what_is_worse_than_the_median_is_stopped(search: ParameterSearch, curve: tuple[float, ...]) -> None:
    history = Path("history.csv")
    for number, finished in enumerate(CURVES):
        watch = early_stopping(search.propose(number), epochs=3)
        save_history(history, finished[:1])
        assert watch(history, False) is None  # while fewer than five have finished
        save_history(history, finished, finished=True)
        assert watch(history, True) is None
        search.tell(number, Outcome("done", finished[-1], 0.5))
    trial = search.propose(5)
    assert [each.intermediate_values for each in trial.study.trials[:5]] == [
        dict(enumerate(each, 1)) for each in CURVES
    ]
    watch = early_stopping(trial, epochs=3)
    save_history(history, curve[:1])
    assert watch(history, False) is None  # in the first third of its epochs
    save_history(history, curve)
    stops = min(curve) > statistics.median(each[1] for each in CURVES)
    assert watch(history, False) == (2 if stops else None)
    assert watch(history, False) is None  # one look decides for an epoch
    save_history(history, (0.9, 0.9, 0.9), finished=True)
    assert early_stopping(search.propose(6), epochs=3)(history, True) is None  # what is done stays


def test_a_run_that_was_there_before_is_not_judged(search: ParameterSearch) -> None:
    """DVC checks out the history of HEAD before the stage train starts, and removes it then."""
    trial = search.propose(0)
    watch = early_stopping(trial, epochs=3)
    save_history(Path("history.csv"), CURVES[0], finished=True)
    watch(Path("history.csv"), False)
    watch(Path("missing.csv"), False)
    assert trial.study.trials[0].intermediate_values == {}
