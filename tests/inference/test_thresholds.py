"""Thresholds are optimal for their rule, by comparison with an exhaustive search."""

import numpy as np
import pytest

from cxr.inference.thresholds import choose_thresholds, youden_threshold


def youden(positive: np.ndarray, probability: np.ndarray, threshold: float) -> float:
    decided = probability >= threshold
    return decided[positive].mean() - decided[~positive].mean()


@pytest.mark.parametrize("digits", [1, 2, 8])
@pytest.mark.parametrize("seed", range(8))
def test_threshold_equals_an_exhaustive_search(digits, seed):
    generator = np.random.default_rng(seed)
    positive = generator.random(60) < 0.7
    probability = (generator.beta(2, 2, 60) * 0.7 + 0.3 * positive).round(digits)  # few digits make ties
    chosen = youden_threshold(positive, probability)
    levels = np.unique([0, *probability, 1])
    candidates = (levels[:-1] + levels[1:]) / 2
    gains = np.array([youden(positive, probability, threshold) for threshold in candidates])
    assert youden(positive, probability, chosen) == pytest.approx(gains.max(), abs=1e-12)
    best = candidates[gains > gains.max() - 1e-12]
    assert abs(chosen - 0.5) == pytest.approx(abs(best - 0.5).min(), abs=1e-12)


def test_threshold_between_separate_classes_is_half_way():
    positive = np.array([False, False, True, True])
    assert youden_threshold(positive, np.array([0.1, 0.3, 0.8, 0.9])) == pytest.approx(0.55)


def test_of_equally_good_thresholds_the_nearest_to_a_half_is_taken():
    positive = np.array([False, True, False, True])
    assert youden_threshold(positive, np.array([0.3, 0.5, 0.8, 0.9])) == pytest.approx(0.4)  # not 0.85
    assert youden_threshold(positive, np.array([0.05, 0.1, 0.4, 0.7])) == pytest.approx(0.55)  # not 0.075


def test_one_probability_for_all_still_has_a_threshold():
    threshold = youden_threshold(np.array([False, True] * 3), np.full(6, 0.2))
    assert 0 < threshold < 1


def drawn(seed: int, digits: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    positive = generator.random(80) < 0.7
    return positive, (generator.beta(2, 2, 80) * 0.7 + 0.3 * positive).round(digits)


@pytest.mark.parametrize("target", [0.5, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("digits", [1, 2, 8])
@pytest.mark.parametrize("seed", range(4))
def test_targets_are_met_and_no_better_threshold_meets_them(seed, digits, target):
    positive, probability = drawn(seed, digits)
    points = choose_thresholds(positive, probability, target)

    def rates(threshold: float) -> tuple[float, float]:
        predicted = probability >= threshold
        return predicted[positive].mean(), (~predicted)[~positive].mean()

    grid = [rates(threshold) for threshold in np.linspace(0, 1, 2001)[:-1] + 0.00025]
    for name, this, other in (("target_sensitivity", 0, 1), ("target_specificity", 1, 0)):
        chosen = rates(points[name])
        assert chosen[this] >= target
        assert chosen[other] >= max(point[other] for point in grid if point[this] >= target)


def test_target_is_met_exactly_where_possible():
    positive = np.repeat([False, True], 20)
    probability = np.concatenate([np.arange(20) / 100, 0.5 + np.arange(20) / 100])
    probability[0], probability[20] = 0.6, 0.1  # a negative image among the positive ones, and the reverse
    points = choose_thresholds(positive, probability, 0.95)
    assert points["target_sensitivity"] == pytest.approx((0.19 + 0.51) / 2)
    assert points["target_specificity"] == pytest.approx((0.19 + 0.51) / 2)
    assert choose_thresholds(positive, probability, 0.96)["target_sensitivity"] == pytest.approx(
        (0.09 + 0.1) / 2
    )
    assert choose_thresholds(positive, probability, 0.96)["target_specificity"] == pytest.approx(
        (0.6 + 0.61) / 2
    )
    assert points["one_half"] == 0.5


def test_tiny_probabilities_do_not_round_a_threshold_away():
    """calibration.json stores six decimals: rules compare thresholds as they are stored."""
    positive = np.array([False] * 5 + [True] * 20)
    probability = np.array([1e-9] * 4 + [0.3] + [2e-7] + [0.9] * 19)
    points = choose_thresholds(positive, probability, 0.95)
    assert points["target_sensitivity"] == pytest.approx(0.6)
    assert points["target_specificity"] == pytest.approx(0.6)
    assert choose_thresholds(positive, probability, 1.0)["target_sensitivity"] == 0


def test_specificity_out_of_reach_gives_the_highest_threshold():
    points = choose_thresholds(np.array([False, True, True]), np.array([1.0, 1.0, 0.2]), 0.95)
    assert points["target_specificity"] == pytest.approx(0.6)
