"""Calibration figures are those that were put in, and chance levels those of perfectly calibrated draws."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cxr.evaluation.calibration_error import (
    by_chance,
    calibration_report,
    debiased_error,
    recalibration,
)
from cxr.evaluation.reliability import calibration_error
from cxr.inference.prevalence import case_weights

UNIFORM = np.array([0.5, 0.5])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def drawn(images: int, intercept: float = 0.0, slope: float = 1.0, seed: int = 0):
    """Labels whose log-odds are intercept + slope times those of the probabilities."""
    generator = np.random.default_rng(seed)
    odds = generator.normal(0, 1.5, images)
    labels = (generator.random(images) < sigmoid(intercept + slope * odds)).astype(int)
    p = sigmoid(odds)
    return labels, np.stack([1 - p, p], axis=1)


@pytest.mark.parametrize(("intercept", "slope"), [(0.0, 1.0), (0.0, 2.0), (0.7, 1.0), (-0.5, 0.5)])
def test_slope_and_intercept_are_those_of_a_logistic_regression(intercept, slope):
    labels, p = drawn(3000, intercept, slope)
    weights = np.random.default_rng(1).random((3, 3000)) + 0.5
    _, slopes = recalibration(p[:, 1], labels == 1, weights)
    odds = np.log(p[:, 1] / p[:, 0])[:, None]
    for found, weight in zip(slopes, weights, strict=True):
        expected = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(odds, labels, weight)
        assert found == pytest.approx(expected.coef_[0, 0], rel=1e-3)


def test_intercept_at_slope_one_makes_the_mean_right():
    labels, p = drawn(2000, intercept=0.8)
    ((intercept,), _) = recalibration(p[:, 1], labels == 1, np.ones((1, 2000)))
    assert sigmoid(intercept + np.log(p[:, 1] / p[:, 0])).mean() == pytest.approx(labels.mean())
    assert intercept == pytest.approx(0.8, abs=0.12)


def test_perfect_separation_gives_finite_numbers():
    p = np.array([0.1, 0.2, 0.8, 0.9])
    found = recalibration(p, np.array([False, False, True, True]), np.ones((2, 4)))
    assert np.isfinite(found).all()


def test_the_debiased_error_does_not_grow_as_images_become_few():
    """Of perfectly calibrated probabilities its square is 0 on average; that of the binned one is not."""
    binned, squares = [], []
    for seed in range(200):
        labels, p = drawn(150, seed=seed)
        weights = np.ones((1, 150))
        binned.append(calibration_error(p[:, 1], labels == 1, weights)[0])
        squares.append(debiased_error(p[:, 1], labels == 1, weights)[0])
    assert np.mean(binned) > 0.08
    assert np.mean(np.array(squares) == 0) > 0.4


def test_the_debiased_error_is_the_shift_where_there_is_one():
    generator = np.random.default_rng(0)
    p = generator.random(20_000) * 0.6
    observed = generator.random(20_000) < p + 0.2
    assert debiased_error(p, observed, np.ones((1, 20_000)))[0] == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("weighting", [None, UNIFORM])
def test_chance_is_the_ece_of_calibrated_draws(weighting):
    """Simulated anew: labels from the probabilities, at their prevalence or at that of the split."""
    labels, p = drawn(400)
    found = by_chance(labels, p, UNIFORM, 300, weighting)
    generator, values = np.random.default_rng(7), []
    share = labels.mean()
    here = p * np.array([1 - share, share]) / UNIFORM
    here = p[:, 1] if weighting is None else here[:, 1] / here.sum(axis=1)
    for _ in range(300):
        truth = (generator.random(400) < here).astype(int)
        weights = np.ones(400) if weighting is None else case_weights(truth, weighting)
        values.append(calibration_error(p[:, 1], truth == 1, weights[None])[0])
    assert found["chance"] == pytest.approx(np.mean(values), rel=0.05)
    assert found["chance_high"] == pytest.approx(np.percentile(values, 95), rel=0.08)


def test_report_has_both_weightings_and_intervals_hold_the_values():
    labels, p = drawn(500, slope=1.8)
    report = calibration_report(labels, p, UNIFORM, 200)
    assert set(report) == {"as_they_are", "at_prevalence"}
    for found in report.values():
        assert set(found) == {"ece", "debiased", "intercept", "slope"}
        for estimate in found.values():
            assert estimate["low"] <= estimate["value"] <= estimate["high"]
        assert found["slope"]["low"] > 1
        assert found["ece"]["chance"] < found["ece"]["chance_high"] < found["ece"]["value"]


def test_three_classes_are_reported_by_their_most_probable_class():
    generator = np.random.default_rng(0)
    p = generator.dirichlet([1, 1, 1], 300)
    labels = np.array([generator.choice(3, p=row) for row in p])
    found = calibration_report(labels, p, np.full(3, 1 / 3), 100)["as_they_are"]
    assert found["slope"]["low"] < 1 < found["slope"]["high"]
