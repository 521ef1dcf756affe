"""Verdicts are right where the answer is known, and two runs on other radiographs are refused."""

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
    (found,) = (each for each in compare_runs(a, b, NAMES) if each.split == split)
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
    row = compare_runs(a, b, NAMES)[0].rows[0]
    assert row.estimate.interval[0] > 0  # of these two models it can


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


def test_holm_as_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1, 1]


def test_only_secondary_metrics_are_corrected():
    found = compare_runs(drawn_predictions([1.0, 1.2]), drawn_predictions([1.3, 1.5], seed=1), NAMES)[0]
    primary, *secondary = found.rows
    assert primary.p == primary.estimate.p
    assert [row.p for row in secondary] == holm([row.estimate.p for row in secondary])
    assert min(row.p for row in secondary) == pytest.approx(6 * min(row.estimate.p for row in secondary))


@pytest.mark.parametrize(
    ("newly_misclassified", "newly_correct"), [(0, 0), (0, 1), (3, 9), (9, 3), (5, 5), (40, 71), (900, 1000)]
)
def test_mcnemar_is_the_binomial_test(lost, won):
    expected = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert mcnemar(lost, won) == pytest.approx(expected)


def test_flipped_images_are_listed_with_the_greatest_change_first():
    labels = np.array([0, 0, 0, 1, 1, 1, 1] * 2)
    splits = np.repeat(["val", "test"], 7)
    truth_a = np.array([0.9, 0.6, 0.2, 0.9, 0.8, 0.7, 0.4] * 2)
    truth_b = np.array([0.8, 0.4, 0.7, 0.1, 0.9, 0.3, 0.2] * 2)

    def side(truth: np.ndarray) -> Predictions:
        p = np.stack([np.where(labels == 0, truth, 1 - truth), np.where(labels == 1, truth, 1 - truth)], 1)
        return Predictions(["normal", "ill"], np.arange(14) * 10, splits, labels, p, p[None])

    found = compare_runs(side(truth_a), side(truth_b), NAMES)[0]
    assert found.a.rows[found.lost].tolist() == [100, 120, 80]
    assert found.a.rows[found.won].tolist() == [90]
    assert found.mcnemar == binomtest(1, 4).pvalue
    (image,) = flips(found, found.won)
    assert image == pytest.approx(
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
def test_other_images_are_refused(what, change):
    data = drawn_predictions(GOOD)
    with refused("metrics/predictions.csv of A and of B", f"other {what}"):
        compare_runs(data, change(data), NAMES)


def test_class_with_a_single_image_is_refused():
    data = drawn_predictions(GOOD)
    few = np.flatnonzero((data.splits == "val") & (data.labels == 0))[1:]
    splits = data.splits.copy()
    splits[few] = "test"
    with refused("val has 1 radiographs of normal", "2 of each class"):
        compare_runs(replace(data, splits=splits), replace(data, splits=splits), NAMES)


def of_members(*values: float) -> Contributions:
    """A metric to which all radiographs contribute alike, so that only members differ."""
    return Contributions(np.array(values), np.zeros((len(values), 4)))


def test_members_alone_are_the_t_test_of_any_textbook():
    found = estimate(of_members(0.8, 0.9, 1.0), of_members(0.6, 0.7, 0.8), np.array([0, 0, 1, 1]))
    assert found.difference == pytest.approx(-0.2)
    assert (found.images, found.freedom) == (0, pytest.approx(4))
    assert found.error == pytest.approx(math.sqrt(0.01 / 3 + 0.01 / 3))
    # 2.776 is the quantile of t with 4 degrees of freedom.
    assert found.interval == pytest.approx((-0.2 - 2.776 * 0.08165, -0.2 + 2.776 * 0.08165), abs=1e-4)
    assert found.p == pytest.approx(0.0705, abs=5e-5)


def test_sides_that_spread_differently_have_welchs_degrees_of_freedom():
    a, b = of_members(0.80, 0.82), of_members(0.5, 0.6, 0.8, 0.9)
    found = estimate(a, b, np.array([0, 0, 1, 1]))
    u, v = a.values.var(ddof=1) / 2, b.values.var(ddof=1) / 4
    assert found.error == pytest.approx(math.sqrt(u + v))
    assert found.freedom == pytest.approx((u + v) ** 2 / (u**2 / 1 + v**2 / 3))


def test_parts_are_obuchowski_and_rockettes_from_delongs_covariances():
    a = drawn_predictions([1.0, 1.2, 1.3])
    b = drawn_predictions([1.6, 2.0], seed=1)
    both = np.concatenate([a.members, b.members])[:, :, 1]
    c = covariance(a.labels == 1, both)
    within_a, within_b = c[:3, :3], c[3:, 3:]
    shared_a = (within_a.sum() - np.trace(within_a)) / 6
    shared_b = (within_b.sum() - np.trace(within_b)) / 2
    found = estimate(*(contributions(a.labels, side.members)["auc"] for side in (a, b)), a.labels)
    assert found.images == pytest.approx(shared_a + shared_b - 2 * c[:3, 3:].mean())
    assert found.noise == pytest.approx(
        (np.trace(within_a) / 3 - shared_a, np.trace(within_b) / 2 - shared_b)
    )


def test_shared_part_is_never_negative():
    equal = estimate(*(contributions(*_two(seed))["auc"] for seed in (1, 1)), _two(1)[0])
    assert equal.difference == 0
    assert equal.images == 0
    assert equal.error == pytest.approx(math.sqrt(equal.of_members))


def _two(seed: int) -> tuple[np.ndarray, np.ndarray]:
    data = drawn_predictions([1.0, 1.1], seed=seed)
    return data.labels, data.members


def test_single_models_have_delongs_interval_and_say_so():
    a, b = drawn_predictions([1.0]), drawn_predictions([1.5], seed=1)
    found = estimate(*(contributions(a.labels, side.members)["auc"] for side in (a, b)), a.labels)
    c = covariance(a.labels == 1, np.concatenate([a.members, b.members])[:, :, 1])
    assert found.single
    assert found.error == pytest.approx(math.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1]))
    assert (found.freedom, found.members_needed(0.05)) == (math.inf, None)
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


def test_equal_members_on_both_sides_do_not_pass_for_certainty():
    """Each member errs on one radiograph, of B on two; no two on the same."""
    labels = np.repeat([0, 1], 10)
    errors = -np.eye(20) / 20
    a = Contributions(np.full(2, 0.95), 0.05 + errors[:2])
    b = Contributions(np.full(2, 0.90), 0.05 + errors[[2, 4]] + errors[[3, 5]])
    found = estimate(a, b, labels)
    assert found.error == pytest.approx(math.sqrt(case_variance((b.images - a.images).mean(axis=0), labels)))
    assert found.p > 0.05


def test_numbers_needed_give_the_power_that_was_planned():
    found = Estimate(0.004, 1e-6, (8e-6, 4e-6), (4e-6, 6e-6), (4, 4))
    level = 0.05
    assert found.p > level
    images = found.images_needed(600, level)
    # With k times the radiographs: shared part and noise fall, what is left of A's spread (4e-6) stays.
    variance = (1e-6 + (4e-6 + 4e-6) / 4) * 600 / images + 4e-6 / 4
    wanted = t.ppf(1 - level / 2, found.freedom) + t.ppf(POWER, found.freedom)
    assert 0.004 / math.sqrt(variance) == pytest.approx(wanted, rel=1e-3)
    members = found.members_needed(level)
    assert members > 4
    for count, enough in ((members, True), (members - 1, False)):
        variance = 1e-6 + 12e-6 / count
        freedom = variance**2 / ((8e-6 / count) ** 2 + (4e-6 / count) ** 2) * (count - 1)
        wanted = t.ppf(1 - level / 2, freedom) + t.ppf(POWER, freedom)
        assert (0.004 / math.sqrt(variance) >= wanted) == enough


@pytest.mark.parametrize(
    ("images", "variability", "noise", "of_images", "of_members"),
    [
        (1e-4, 1e-6, 1e-6, True, False),  # radiographs are what is missing
        (1e-8, 1e-4, 1e-6, False, True),  # members are
        (1e-4, 1e-4, 1e-6, False, False),
        (1e-8, 1e-4, 1e-4, True, True),
    ],
)
def test_what_cannot_help_is_not_recommended(images, variability, noise, of_images, of_members):
    found = Estimate(0.005, images, (variability, variability), (noise, noise), (4, 4))
    assert (found.images_needed(600, 0.05) is not None) == of_images
    assert (found.members_needed(0.05) is not None) == of_members


def test_no_number_tells_what_does_not_differ():
    found = Estimate(0.0, 1e-6, (1e-6, 1e-6), (0.0, 0.0), (4, 4))
    assert (found.p, found.images_needed(600, 0.05), found.members_needed(0.05)) == (1, None, None)


@pytest.mark.parametrize(("own", "talent"), [(0.0, 0.0), (0.3, 0.03)])
def test_intervals_hold_the_true_difference(own, talent):
    """Of AUC, of trainings that differ by a known amount, on new radiographs every time."""
    quality, members, generator = 1.05, 4, np.random.default_rng(5)
    sides = (1.0, quality)
    variance = 2 * (1 + own**2 + ERROR**2) + (2 * SIGNAL * talent) ** 2
    truth = float(np.diff([norm.cdf(2 * SIGNAL * q / math.sqrt(variance)) for q in sides])[0])
    draw = from_model(members, own, talent, quality)
    held = []
    for _ in range(250):
        labels, a, b = draw(generator)
        found = estimate(
            *(auc_contributions(labels[:, None] == 1, side[:, :, None]) for side in (a, b)), labels
        )
        held.append(found.interval[0] <= truth <= found.interval[1])
    # Three standard errors of a share of 0.95 in 250 are 0.041.
    assert 0.909 <= np.mean(held) <= 0.992
