"""Verdicts are right where the answer is known, and two runs on other films are refused."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from cxr.compare import compare, flips, mcnemar
from cxr.intervals import holm
from cxr.predictions import Predictions
from tests.builders import drawn_predictions, refused

NAMES = ("A", "B")
GOOD, POOR = [3.0, 3.1, 3.0, 2.9], [1.0, 1.1, 0.9, 1.0]


def verdicts(a: Predictions, b: Predictions, split: str = "test") -> dict[str, str]:
    (found,) = (each for each in compare(a, b, NAMES) if each.split == split)
    return {row.metric: row.verdict for row in found.rows}


@pytest.mark.parametrize("split", ["test", "val"])
@pytest.mark.parametrize("classes", [2, 3])
def test_what_is_clearly_better_is_called_better_and_the_reverse_worse(classes, split):
    a, b = (drawn_predictions(s, seed=i, classes=classes) for i, s in enumerate((POOR, GOOD)))
    better, worse = verdicts(a, b, split), verdicts(b, a, split)
    primary = "auc" if classes == 2 else "auc_ovr_macro"
    assert next(iter(better)) == primary
    for name in (primary, "accuracy", "balanced_accuracy", "brier", "nll"):
        assert (better[name], worse[name]) == ("better", "worse"), name
    assert len(better) == (7 if classes == 2 else 5)


def test_other_members_of_the_same_training_cannot_be_told_apart():
    a, b = drawn_predictions(GOOD), drawn_predictions(GOOD, seed=1)
    assert set(verdicts(a, b).values()) == {"cannot tell"}


@pytest.mark.parametrize("single", ["A", "B", "both"])
def test_a_single_member_cannot_tell_even_of_a_large_difference(single):
    a = drawn_predictions(POOR[:1] if single != "B" else POOR)
    b = drawn_predictions(GOOD[:1] if single != "A" else GOOD, seed=1)
    assert set(verdicts(a, b).values()) == {"cannot tell"}
    row = compare(a, b, NAMES)[0].rows[0]
    assert row.estimate.interval[0] > 0  # of these two models it can


def test_rows_show_members_and_ensemble():
    a, b = drawn_predictions(POOR), drawn_predictions(GOOD, seed=1)
    row = compare(a, b, NAMES)[0].rows[0]
    for side, mean, ensemble in ((a, row.a, row.ensemble_a), (b, row.b, row.ensemble_b)):
        test = side.of("test")
        aucs = [roc_auc_score(test.labels, p[:, 1]) for p in test.members]
        assert mean == pytest.approx(np.mean(aucs))
        assert ensemble == pytest.approx(roc_auc_score(test.labels, test.ensemble[:, 1]))
    assert row.estimate.difference == pytest.approx(row.b - row.a)
    assert row.ensemble.single


def test_holm_as_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1, 1]


def test_only_secondary_metrics_are_corrected():
    found = compare(drawn_predictions([1.0, 1.2]), drawn_predictions([1.3, 1.5], seed=1), NAMES)[0]
    primary, *secondary = found.rows
    assert primary.p == primary.estimate.p
    assert [row.p for row in secondary] == holm([row.estimate.p for row in secondary])
    assert min(row.p for row in secondary) == pytest.approx(6 * min(row.estimate.p for row in secondary))


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (0, 1), (3, 9), (9, 3), (5, 5), (40, 71), (900, 1000)])
def test_mcnemar_is_the_binomial_test(lost, won):
    expected = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert mcnemar(lost, won) == pytest.approx(expected)


def test_flipped_films_are_listed_with_the_greatest_change_first():
    labels = np.array([0, 0, 0, 1, 1, 1, 1] * 2)
    splits = np.repeat(["val", "test"], 7)
    truth_a = np.array([0.9, 0.6, 0.2, 0.9, 0.8, 0.7, 0.4] * 2)
    truth_b = np.array([0.8, 0.4, 0.7, 0.1, 0.9, 0.3, 0.2] * 2)

    def side(truth: np.ndarray) -> Predictions:
        p = np.stack([np.where(labels == 0, truth, 1 - truth), np.where(labels == 1, truth, 1 - truth)], 1)
        return Predictions(["normal", "ill"], np.arange(14) * 10, splits, labels, p, p[None])

    found = compare(side(truth_a), side(truth_b), NAMES)[0]
    assert found.a.rows[found.lost].tolist() == [100, 120, 80]
    assert found.a.rows[found.won].tolist() == [90]
    assert found.mcnemar == binomtest(1, 4).pvalue
    (film,) = flips(found, found.won)
    assert film == pytest.approx(
        {
            "row": 90,
            "truth": "normal",
            "decision_a": "ill",
            "decision_b": "normal",
            "p_truth_a": 0.2,
            "p_truth_b": 0.7,
        }
    )


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("rows", lambda p: replace(p, rows=p.rows + 1)),
        ("rows", lambda p: replace(p.of("test"), splits=p.of("test").splits)),
        ("splits", lambda p: replace(p, splits=p.splits[::-1])),
        ("labels", lambda p: replace(p, labels=1 - p.labels)),
        ("classes, normal, pneumonia and normal, ill", lambda p: replace(p, classes=["normal", "ill"])),
    ],
)
def test_other_films_are_refused(what, change):
    data = drawn_predictions(GOOD)
    with refused("metrics/predictions.csv of A and of B", f"other {what}"):
        compare(data, change(data), NAMES)


def test_class_with_a_single_film_is_refused():
    data = drawn_predictions(GOOD)
    few = np.flatnonzero((data.splits == "val") & (data.labels == 0))[1:]
    splits = data.splits.copy()
    splits[few] = "test"
    with refused("val has 1 films of normal", "2 of each class"):
        compare(replace(data, splits=splits), replace(data, splits=splits), NAMES)
