"""Verdicts are right where the answer is known, and decisions are the released ones."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from cxr.commands.compare.comparison import compare_runs, flips, mcnemar
from cxr.evaluation.statistics import holm
from cxr.inference.predictions import Predictions
from tests.builders import drawn_predictions

UNPAIRED, THRESHOLDS = "unpaired", (None, None)
GOOD, POOR = [3.0, 3.1, 3.0, 2.9], [1.0, 1.1, 0.9, 1.0]


def verdicts(a: Predictions, b: Predictions, split: str = "test") -> dict[str, str]:
    (comparison,) = (each for each in compare_runs(a, b, UNPAIRED, THRESHOLDS) if each.split == split)
    return {row.metric: row.verdict for row in comparison.rows}


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


def test_other_seeds_of_the_same_training_are_inconclusive():
    a, b = drawn_predictions(GOOD), drawn_predictions(GOOD, seed=1)
    assert set(verdicts(a, b).values()) == {"inconclusive"}


def test_too_few_members_are_inconclusive_even_with_a_large_difference():
    a, b = drawn_predictions(POOR[:2]), drawn_predictions(GOOD, seed=1)
    comparison = compare_runs(a, b, "too few", THRESHOLDS)[0]
    assert {row.verdict for row in comparison.rows} == {"inconclusive"}
    assert comparison.rows[0].p == 1
    assert compare_runs(a, b, UNPAIRED, THRESHOLDS)[0].rows[0].verdict == "better"


def test_partners_alone_are_compared_where_members_are_paired():
    a, b = drawn_predictions(POOR), drawn_predictions([*GOOD, 9.0], seed=1)
    comparison = compare_runs(a, b, "paired", THRESHOLDS)[0]
    row, test = comparison.rows[0], b.of("test")
    assert comparison.compared == (4, 4)
    assert row.b == pytest.approx(np.mean([roc_auc_score(test.labels, p[:, 1]) for p in test.members[:4]]))
    assert row.estimate.members == (4,)


def test_decisions_are_the_released_ones_of_each_run():
    """The same probabilities with another threshold: AUC is equal, every decision in between changes."""
    a = drawn_predictions(POOR)
    test = compare_runs(a, a, "same weights", (0.5, 0.2))[0]
    p, labels = a.of("test").ensemble[:, 1], a.of("test").labels
    between = (p >= 0.2) & (p < 0.5)
    assert set(test.newly_misclassified) == set(np.flatnonzero(between & (labels == 0)))
    assert set(test.newly_correct) == set(np.flatnonzero(between & (labels == 1)))
    rows = {row.metric: row for row in test.rows}
    assert rows["auc"].estimate.difference == 0
    assert rows["sensitivity"].ensemble_b == pytest.approx((p[labels == 1] >= 0.2).mean())
    assert rows["specificity"].ensemble_a == pytest.approx((p[labels == 0] < 0.5).mean())
    assert {flip["decision_b"] for flip in flips(test, test.newly_correct)} == {"pneumonia"}


def test_images_of_one_patient_widen_the_interval():
    """Every image three times: with its patient the interval is that of the images once, without it is too
    narrow by the root of three."""
    a, b = drawn_predictions(POOR), drawn_predictions(GOOD, seed=1)
    thrice = np.repeat(np.arange(len(a.rows)), 3)
    once = compare_runs(a, b, UNPAIRED, THRESHOLDS)[0].rows[0].estimate
    images = compare_runs(a.at(thrice), b.at(thrice), UNPAIRED, THRESHOLDS)[0].rows[0].estimate
    of_patients = replace(a.at(thrice), patients=thrice)
    patients = compare_runs(of_patients, b.at(thrice), UNPAIRED, THRESHOLDS)[0].rows[0].estimate
    assert patients.difference == pytest.approx(once.difference)
    assert patients.between_case == pytest.approx(once.between_case, rel=0.01)
    assert images.between_case == pytest.approx(once.between_case / 3, rel=0.05)


def test_rows_show_members_and_ensemble():
    a, b = drawn_predictions(POOR), drawn_predictions(GOOD, seed=1)
    row = compare_runs(a, b, UNPAIRED, THRESHOLDS)[0].rows[0]
    for side, mean, ensemble in ((a, row.a, row.ensemble_a), (b, row.b, row.ensemble_b)):
        test = side.of("test")
        aucs = [roc_auc_score(test.labels, p[:, 1]) for p in test.members]
        assert mean == pytest.approx(np.mean(aucs))
        assert ensemble == pytest.approx(roc_auc_score(test.labels, test.ensemble[:, 1]))
    assert row.estimate.difference == pytest.approx(row.b - row.a)
    assert row.ensemble.between_seed == ()


def test_only_secondary_metrics_are_corrected():
    comparison = compare_runs(
        drawn_predictions([1.0, 1.2, 1.1]), drawn_predictions([1.3, 1.5, 1.4], seed=1), UNPAIRED, THRESHOLDS
    )[0]
    primary, *secondary = comparison.rows
    assert primary.p == primary.estimate.p
    assert [row.p for row in secondary] == holm([row.estimate.p for row in secondary])
    assert min(row.p for row in secondary) == pytest.approx(6 * min(row.estimate.p for row in secondary))


@pytest.mark.parametrize(
    ("newly_misclassified", "newly_correct"), [(0, 0), (0, 1), (3, 9), (9, 3), (5, 5), (40, 71), (900, 1000)]
)
def test_mcnemar_is_the_binomial_test(newly_misclassified, newly_correct):
    total = newly_misclassified + newly_correct
    expected = binomtest(newly_misclassified, total).pvalue if total else 1.0
    assert mcnemar(newly_misclassified, newly_correct) == pytest.approx(expected)


def test_changed_decisions_are_listed_with_the_greatest_change_first():
    labels = np.array([0, 0, 0, 1, 1, 1, 1] * 2)
    splits = np.repeat(["val", "test"], 7)
    p_label_a = np.array([0.9, 0.6, 0.2, 0.9, 0.8, 0.7, 0.4] * 2)
    p_label_b = np.array([0.8, 0.4, 0.7, 0.1, 0.9, 0.3, 0.2] * 2)

    def side(p_label: np.ndarray) -> Predictions:
        p_diseased = np.where(labels == 1, p_label, 1 - p_label)
        p = np.stack([1 - p_diseased, p_diseased], axis=1)
        return Predictions(["normal", "diseased"], np.arange(14) * 10, splits, labels, p, p[None])

    test = compare_runs(side(p_label_a), side(p_label_b), "same weights", THRESHOLDS)[0]
    assert test.a.rows[test.newly_misclassified].tolist() == [100, 120, 80]
    assert test.a.rows[test.newly_correct].tolist() == [90]
    assert test.mcnemar == binomtest(1, 4).pvalue
    (flip,) = flips(test, test.newly_correct)
    assert flip == pytest.approx(
        {
            "row": 90,
            "label": "normal",
            "decision_a": "diseased",
            "decision_b": "normal",
            "p_label_a": 0.2,
            "p_label_b": 0.7,
        }
    )


def test_numbers_needed_are_at_the_level_that_holms_method_asks_of_the_smallest_p():
    a, b = drawn_predictions([1.0, 1.1, 1.2]), drawn_predictions([1.3, 1.5, 1.4], seed=1)
    primary, *secondary = compare_runs(a, b, UNPAIRED, THRESHOLDS)[0].rows
    images = int((a.splits == "test").sum())
    for row, level in [(primary, 0.05), *((row, 0.05 / len(secondary)) for row in secondary)]:
        assert row.images_needed == row.estimate.images_needed(images, level)
        assert row.members_needed == row.estimate.members_needed(level)
        assert row.detectable == row.estimate.detectable(level)
    assert any(row.images_needed != row.estimate.images_needed(images, 0.05) for row in secondary)
