"""Verdicts are right where the answer is known, and two runs on other radiographs are an error."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, norm, t
from sklearn.metrics import roc_auc_score

from benchmarks.compare_false_alarms import ERROR, SIGNAL, from_model
from cxr.commands.compare.comparison import POWER, Estimate, compare_runs, estimate, flips, mcnemar
from cxr.evaluation.delong import Contributions, auc_contributions, case_variance, contributions
from cxr.evaluation.statistics import holm
from cxr.inference.predictions import Predictions
from tests.builders import drawn_predictions, refused
from tests.evaluation.test_delong import covariance

NAMES = ("A", "B")
GOOD, POOR = [3.0, 3.1, 3.0, 2.9], [1.0, 1.1, 0.9, 1.0]


def verdicts(a: Predictions, b: Predictions, split: str = "test") -> dict[str, str]:
    (comparison,) = (each for each in compare_runs(a, b, NAMES) if each.split == split)
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


@pytest.mark.parametrize("single", ["A", "B", "both"])
def test_a_single_member_is_inconclusive_even_with_a_large_difference(single):
    a = drawn_predictions(POOR[:1] if single != "B" else POOR)
    b = drawn_predictions(GOOD[:1] if single != "A" else GOOD, seed=1)
    assert set(verdicts(a, b).values()) == {"inconclusive"}
    row = compare_runs(a, b, NAMES)[0].rows[0]
    assert row.estimate.interval[0] > 0  # between these two models there is a difference


def test_rows_show_members_and_ensemble():
    a, b = drawn_predictions(POOR), drawn_predictions(GOOD, seed=1)
    row = compare_runs(a, b, NAMES)[0].rows[0]
    for side, mean, ensemble in ((a, row.a, row.ensemble_a), (b, row.b, row.ensemble_b)):
        test = side.of("test")
        aucs = [roc_auc_score(test.labels, p[:, 1]) for p in test.members]
        assert mean == pytest.approx(np.mean(aucs))
        assert ensemble == pytest.approx(roc_auc_score(test.labels, test.ensemble[:, 1]))
    assert row.estimate.difference == pytest.approx(row.b - row.a)
    assert row.ensemble.single


def test_only_secondary_metrics_are_corrected():
    comparison = compare_runs(drawn_predictions([1.0, 1.2]), drawn_predictions([1.3, 1.5], seed=1), NAMES)[0]
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

    test = compare_runs(side(p_label_a), side(p_label_b), NAMES)[0]
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


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("rows", lambda p: replace(p, rows=p.rows + 1)),
        ("rows", lambda p: replace(p.of("test"), splits=p.of("test").splits)),
        ("splits", lambda p: replace(p, splits=p.splits[::-1])),
        ("labels", lambda p: replace(p, labels=1 - p.labels)),
        (
            "classes, normal, pneumonia and normal, diseased",
            lambda p: replace(p, classes=["normal", "diseased"]),
        ),
    ],
)
def test_other_images_are_an_error(what, change):
    data = drawn_predictions(GOOD)
    with refused("metrics/predictions.csv of A and of B", f"other {what}"):
        compare_runs(data, change(data), NAMES)


def test_class_with_a_single_image_is_an_error():
    data = drawn_predictions(GOOD)
    few = np.flatnonzero((data.splits == "val") & (data.labels == 0))[1:]
    splits = data.splits.copy()
    splits[few] = "test"
    with refused("val has 1 radiographs of normal", "at least 2 of each class"):
        compare_runs(replace(data, splits=splits), replace(data, splits=splits), NAMES)


def of_members(*values: float) -> Contributions:
    """A metric to which all radiographs contribute equally, so that only members differ."""
    return Contributions(np.array(values), np.zeros((len(values), 4)))


def test_between_seed_part_alone_is_the_textbook_t_test():
    result = estimate(of_members(0.8, 0.9, 1.0), of_members(0.6, 0.7, 0.8), np.array([0, 0, 1, 1]))
    assert result.difference == pytest.approx(-0.2)
    assert (result.between_case, result.degrees_of_freedom) == (0, pytest.approx(4))
    assert result.standard_error == pytest.approx(math.sqrt(0.01 / 3 + 0.01 / 3))
    # 2.776 is the quantile of t with 4 degrees of freedom.
    assert result.interval == pytest.approx((-0.2 - 2.776 * 0.08165, -0.2 + 2.776 * 0.08165), abs=1e-4)
    assert result.p == pytest.approx(0.0705, abs=5e-5)


def test_unequal_between_seed_variances_have_welchs_degrees_of_freedom():
    a, b = of_members(0.80, 0.82), of_members(0.5, 0.6, 0.8, 0.9)
    result = estimate(a, b, np.array([0, 0, 1, 1]))
    u, v = a.values.var(ddof=1) / 2, b.values.var(ddof=1) / 4
    assert result.standard_error == pytest.approx(math.sqrt(u + v))
    assert result.degrees_of_freedom == pytest.approx((u + v) ** 2 / (u**2 / 1 + v**2 / 3))


def test_components_are_obuchowski_and_rockettes_from_delongs_covariances():
    a = drawn_predictions([1.0, 1.2, 1.3])
    b = drawn_predictions([1.6, 2.0], seed=1)
    both = np.concatenate([a.members, b.members])[:, :, 1]
    c = covariance(a.labels == 1, both)
    within_a, within_b = c[:3, :3], c[3:, 3:]
    shared_a = (within_a.sum() - np.trace(within_a)) / 6
    shared_b = (within_b.sum() - np.trace(within_b)) / 2
    result = estimate(*(contributions(a.labels, side.members)["auc"] for side in (a, b)), a.labels)
    assert result.between_case == pytest.approx(shared_a + shared_b - 2 * c[:3, 3:].mean())
    assert result.interaction == pytest.approx(
        (np.trace(within_a) / 3 - shared_a, np.trace(within_b) / 2 - shared_b)
    )


def test_shared_part_is_never_negative():
    equal = estimate(*(contributions(*_two(seed))["auc"] for seed in (1, 1)), _two(1)[0])
    assert equal.difference == 0
    assert equal.between_case == 0
    assert equal.standard_error == pytest.approx(math.sqrt(equal.seed_variance))


def _two(seed: int) -> tuple[np.ndarray, np.ndarray]:
    data = drawn_predictions([1.0, 1.1], seed=seed)
    return data.labels, data.members


def test_single_models_have_delongs_interval_and_are_marked():
    a, b = drawn_predictions([1.0]), drawn_predictions([1.5], seed=1)
    result = estimate(*(contributions(a.labels, side.members)["auc"] for side in (a, b)), a.labels)
    c = covariance(a.labels == 1, np.concatenate([a.members, b.members])[:, :, 1])
    assert result.single
    assert result.standard_error == pytest.approx(math.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1]))
    assert (result.degrees_of_freedom, result.members_needed(0.05)) == (math.inf, None)
    assert estimate(
        *(contributions(a.labels, side.members)["auc"] for side in (_three(), b)), a.labels
    ).single


def _three():
    return drawn_predictions([1.0, 1.1, 1.2])


def test_swapped_sides_swap_the_sign_and_nothing_else():
    a, b = _three(), drawn_predictions([1.5, 1.6], seed=1)
    for name, first in contributions(a.labels, a.members).items():
        second = contributions(b.labels, b.members)[name]
        there, back = estimate(first, second, a.labels), estimate(second, first, a.labels)
        assert back.difference == pytest.approx(-there.difference)
        assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))
        assert back.p == pytest.approx(there.p)
        assert back.images_needed(200, 0.05) == there.images_needed(200, 0.05)
        assert back.members_needed(0.05) == there.members_needed(0.05)


def test_equal_members_on_both_sides_do_not_mean_certainty():
    """Each member of A errs on one radiograph, each of B on two; no two on the same."""
    labels = np.repeat([0, 1], 10)
    errors = -np.eye(20) / 20
    a = Contributions(np.full(2, 0.95), 0.05 + errors[:2])
    b = Contributions(np.full(2, 0.90), 0.05 + errors[[2, 4]] + errors[[3, 5]])
    result = estimate(a, b, labels)
    assert result.standard_error == pytest.approx(
        math.sqrt(case_variance((b.images - a.images).mean(axis=0), labels))
    )
    assert result.p > 0.05


def test_numbers_needed_give_the_power_that_was_planned():
    result = Estimate(0.004, 1e-6, (8e-6, 4e-6), (4e-6, 6e-6), (4, 4))
    level = 0.05
    assert result.p > level
    images = result.images_needed(600, level)
    # More radiographs reduce the between-case part and the interaction; the rest of A's s^2 (4e-6) remains.
    variance = (1e-6 + (4e-6 + 4e-6) / 4) * 600 / images + 4e-6 / 4
    wanted = t.ppf(1 - level / 2, result.degrees_of_freedom) + t.ppf(POWER, result.degrees_of_freedom)
    assert 0.004 / math.sqrt(variance) == pytest.approx(wanted, rel=1e-3)
    members = result.members_needed(level)
    assert members > 4
    for count, enough in ((members, True), (members - 1, False)):
        variance = 1e-6 + 12e-6 / count
        freedom = variance**2 / ((8e-6 / count) ** 2 + (4e-6 / count) ** 2) * (count - 1)
        wanted = t.ppf(1 - level / 2, freedom) + t.ppf(POWER, freedom)
        assert (0.004 / math.sqrt(variance) >= wanted) == enough


@pytest.mark.parametrize(
    ("between_case", "between_seed", "interaction", "images_help", "members_help"),
    [
        (1e-4, 1e-6, 1e-6, True, False),
        (1e-8, 1e-4, 1e-6, False, True),
        (1e-4, 1e-4, 1e-6, False, False),
        (1e-8, 1e-4, 1e-4, True, True),
    ],
)
def test_what_does_not_help_is_not_recommended(
    between_case, between_seed, interaction, images_help, members_help
):
    result = Estimate(0.005, between_case, (between_seed,) * 2, (interaction,) * 2, (4, 4))
    assert (result.images_needed(600, 0.05) is not None) == images_help
    assert (result.members_needed(0.05) is not None) == members_help


def test_no_number_detects_what_does_not_differ():
    result = Estimate(0.0, 1e-6, (1e-6, 1e-6), (0.0, 0.0), (4, 4))
    assert (result.p, result.images_needed(600, 0.05), result.members_needed(0.05)) == (1, None, None)


@pytest.mark.parametrize(("own", "talent"), [(0.0, 0.0), (0.3, 0.03)])
def test_intervals_hold_the_true_difference(own, talent):
    """Of AUC, for trainings that differ by a known amount, on new radiographs every time."""
    quality, members, generator = 1.05, 4, np.random.default_rng(5)
    sides = (1.0, quality)
    variance = 2 * (1 + own**2 + ERROR**2) + (2 * SIGNAL * talent) ** 2
    true_difference = float(np.diff([norm.cdf(2 * SIGNAL * q / math.sqrt(variance)) for q in sides])[0])
    draw = from_model(members, own, talent, quality)
    covered = []
    for _ in range(250):
        labels, a, b = draw(generator)
        result = estimate(
            *(auc_contributions(labels[:, None] == 1, side[:, :, None]) for side in (a, b)), labels
        )
        covered.append(result.interval[0] <= true_difference <= result.interval[1])
    # Three standard errors of a proportion of 0.95 in 250 are 0.041.
    assert 0.909 <= np.mean(covered) <= 0.992


def test_numbers_needed_are_at_the_level_that_holms_method_asks_of_the_smallest_p():
    a, b = drawn_predictions([1.0, 1.1, 1.2]), drawn_predictions([1.3, 1.5, 1.4], seed=1)
    primary, *secondary = compare_runs(a, b, NAMES)[0].rows
    images = int((a.splits == "test").sum())
    for row, level in [(primary, 0.05), *((row, 0.05 / len(secondary)) for row in secondary)]:
        assert row.images_needed == row.estimate.images_needed(images, level)
        assert row.members_needed == row.estimate.members_needed(level)
    assert any(row.images_needed != row.estimate.images_needed(images, 0.05) for row in secondary)
