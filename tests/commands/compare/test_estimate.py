"""The variance of a difference is that of the model it comes from, in each design."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import nct, t, ttest_ind, ttest_rel

from benchmarks.compare_false_alarms import Model, both_forms, from_model, significant
from cxr.commands.compare.estimate import POWER, Estimate, design_of, estimate
from cxr.evaluation.delong import Contributions, case_variance, contributions
from tests.builders import drawn_predictions
from tests.evaluation.test_delong import covariance


def of_members(*values: float) -> Contributions:
    """A metric to which all radiographs contribute equally, so that only members differ."""
    return Contributions(np.array(values), np.zeros((len(values), 4)))


def test_between_seed_part_alone_is_the_textbook_t_test():
    result = estimate(
        of_members(0.8, 0.9, 1.0), of_members(0.6, 0.7, 0.8), np.array([0, 0, 1, 1]), "unpaired"
    )
    assert result.difference == pytest.approx(-0.2)
    assert (result.between_case, result.degrees_of_freedom) == (0, pytest.approx(4))
    assert result.standard_error == pytest.approx(math.sqrt(0.01 / 3 + 0.01 / 3))
    # 2.776 is the quantile of t with 4 degrees of freedom.
    assert result.interval == pytest.approx((-0.2 - 2.776 * 0.08165, -0.2 + 2.776 * 0.08165), abs=1e-4)
    assert result.p == pytest.approx(0.0705, abs=5e-5)


def test_unequal_between_seed_variances_have_welchs_degrees_of_freedom():
    a, b = of_members(0.80, 0.82), of_members(0.5, 0.6, 0.8, 0.9)
    result = estimate(a, b, np.array([0, 0, 1, 1]), "unpaired")
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
    result = estimate(
        *(contributions(a.labels, side.members, None)["auc"] for side in (a, b)), a.labels, "unpaired"
    )
    assert result.between_case == pytest.approx(shared_a + shared_b - 2 * c[:3, 3:].mean())
    assert result.interaction == pytest.approx(
        (np.trace(within_a) / 3 - shared_a, np.trace(within_b) / 2 - shared_b)
    )


def test_shared_part_is_never_negative():
    equal = estimate(*(contributions(*_two(seed), None)["auc"] for seed in (1, 1)), _two(1)[0], "unpaired")
    assert equal.difference == 0
    assert equal.between_case == 0
    assert equal.standard_error == pytest.approx(math.sqrt(equal.seed_variance))


def _two(seed: int) -> tuple[np.ndarray, np.ndarray]:
    data = drawn_predictions([1.0, 1.1], seed=seed)
    return data.labels, data.members


@pytest.mark.parametrize("design", ["same weights", "too few"])
def test_fixed_members_have_delongs_interval(design):
    a, b = drawn_predictions([1.0]), drawn_predictions([1.5], seed=1)
    result = estimate(
        *(contributions(a.labels, side.members, None)["auc"] for side in (a, b)), a.labels, design
    )
    c = covariance(a.labels == 1, np.concatenate([a.members, b.members])[:, :, 1])
    assert result.standard_error == pytest.approx(math.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1]))
    assert (result.degrees_of_freedom, result.members_needed(0.05)) == (math.inf, None)
    assert (result.p < 1) == result.testable == (design == "same weights")


@pytest.mark.parametrize(
    ("members", "same_seeds", "same_weights", "expected"),
    [
        ((5, 5), True, False, "paired"),
        ((4, 5), True, False, "paired"),
        ((5, 5), False, False, "unpaired"),
        ((2, 8), False, False, "too few"),
        ((2, 2), True, False, "too few"),
        ((1, 1), True, True, "same weights"),
    ],
)
def test_design_follows_from_seeds_and_weights(members, same_seeds, same_weights, expected):
    assert design_of(*members, same_seeds=same_seeds, same_weights=same_weights) == expected


def test_paired_members_are_a_one_sample_test_of_their_differences():
    a, b = of_members(0.80, 0.85, 0.90, 0.70), of_members(0.81, 0.87, 0.90, 0.73)
    result = estimate(a, b, np.array([0, 0, 1, 1]), "paired")
    assert result.p == pytest.approx(ttest_rel(b.values, a.values).pvalue)
    assert result.interval == pytest.approx(ttest_rel(b.values, a.values).confidence_interval())
    unpaired = estimate(a, b, np.array([0, 0, 1, 1]), "unpaired")
    assert unpaired.p == pytest.approx(ttest_ind(b.values, a.values, equal_var=False).pvalue)
    assert result.p < 0.2 < unpaired.p


def test_paired_components_are_obuchowski_and_rockettes():
    """2 (Cov2 - Cov3) from the covariance matrix of all members of both runs."""
    a, b = drawn_predictions([1.0, 1.2, 1.3]), drawn_predictions([1.6, 2.0, 1.1], seed=1)
    c = covariance(a.labels == 1, np.concatenate([a.members, b.members])[:, :, 1])
    others = ~np.eye(3, dtype=bool)
    cov2 = (c[:3, :3][others].mean() + c[3:, 3:][others].mean()) / 2
    cov3 = c[:3, 3:][others].mean()
    sides = [contributions(a.labels, side.members, None)["auc"] for side in (a, b)]
    assert estimate(*sides, a.labels, "paired").between_case == pytest.approx(2 * (cov2 - cov3))


def test_the_detectable_difference_is_found_with_the_planned_power():
    """By the noncentral t distribution."""
    result = Estimate("paired", 0.0, 2e-6, (4e-6,), (1e-6,), (5,))
    degrees, shift = result.degrees_of_freedom, result.detectable() / result.standard_error
    power = nct.sf(t.ppf(0.975, degrees), degrees, shift)
    assert power == pytest.approx(POWER, abs=0.01)


def _three():
    return drawn_predictions([1.0, 1.1, 1.2])


def test_swapped_sides_swap_the_sign_and_nothing_else():
    a, b = _three(), drawn_predictions([1.5, 1.6], seed=1)
    for name, first in contributions(a.labels, a.members, None).items():
        second = contributions(b.labels, b.members, None)[name]
        there, back = (estimate(*sides, a.labels, "unpaired") for sides in ((first, second), (second, first)))
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
    result = estimate(a, b, labels, "unpaired")
    assert result.standard_error == pytest.approx(
        math.sqrt(case_variance((b.images - a.images).mean(axis=0), labels))
    )
    assert result.p > 0.05


def test_numbers_needed_give_the_power_that_was_planned():
    result = Estimate("unpaired", 0.004, 1e-6, (8e-6, 4e-6), (4e-6, 6e-6), (4, 4))
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
    result = Estimate("unpaired", 0.005, between_case, (between_seed,) * 2, (interaction,) * 2, (4, 4))
    assert (result.images_needed(600, 0.05) is not None) == images_help
    assert (result.members_needed(0.05) is not None) == members_help


def test_no_number_detects_what_does_not_differ():
    result = Estimate("unpaired", 0.0, 1e-6, (1e-6, 1e-6), (0.0, 0.0), (4, 4))
    assert (result.p, result.images_needed(600, 0.05), result.members_needed(0.05)) == (1, None, None)


@pytest.mark.parametrize(
    ("form", "model"),
    [
        ("unpaired", Model(own=0.0, talent=0.0, b=1.05)),
        ("unpaired", Model(own=0.3, talent=0.03, b=1.05)),
        ("paired", Model(own=0.1, correlation=0.9, b=1.02)),
    ],
)
def test_intervals_hold_the_true_difference(form, model):
    """Of AUC, for trainings that differ by a known amount, on new radiographs every time."""
    draw, generator = from_model(4, 4, model), np.random.default_rng(5)
    covered = []
    for _ in range(250):
        result = both_forms(*draw(generator))[form]
        covered.append(result.interval[0] <= model.difference <= result.interval[1])
    # Three standard errors of a proportion of 0.95 in 250 are 0.041.
    assert 0.909 <= np.mean(covered) <= 0.992


def test_pairing_finds_what_independent_members_hide():
    model = Model(own=0.05, correlation=0.9)
    draw = from_model(5, 5, replace(model, b=model.better_by(0.002)))
    found = significant(draw, 60, seed=0)
    assert found["paired"] > 0.5 > found["unpaired"]
