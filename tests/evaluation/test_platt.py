"""Platt scaling where the solution is known."""

import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from cxr.core.probabilities import nll
from cxr.evaluation.platt import apply_platt, calibration_methods, fit_platt
from cxr.evaluation.reliability import scores
from cxr.inference.calibration import Calibration, fit_temperature
from cxr.inference.predictions import Predictions
from tests.builders import drawn_predictions

PRIOR, PREVALENCE = [0.3, 0.7], [0.5, 0.5]


def both(p: np.ndarray) -> np.ndarray:
    return np.stack([1 - p, p], axis=1)


def test_slope_and_intercept_that_labels_were_drawn_with():
    generator = np.random.default_rng(0)
    raw_logit = generator.normal(0, 1.5, 200_000)
    labels = (generator.random(len(raw_logit)) < expit(1.8 * raw_logit - 0.7)).astype(int)
    model = fit_platt(both(expit(raw_logit)), labels)
    assert model.coef_[0, 0] == pytest.approx(1.8, abs=0.03)
    assert model.intercept_[0] == pytest.approx(-0.7, abs=0.02)
    result = apply_platt(model, both(expit(raw_logit)))
    np.testing.assert_allclose(
        logit(result[:, 1]), model.coef_[0, 0] * raw_logit + model.intercept_[0], atol=1e-6
    )


def test_two_probabilities_have_a_solution_in_closed_form():
    """Two probabilities and two parameters: each probability becomes the observed frequency."""
    p = np.array([0.2] * 10 + [0.8] * 10)
    labels = np.array([1] * 4 + [0] * 6 + [1] * 7 + [0] * 3)
    result = apply_platt(fit_platt(both(p), labels), both(p))[:, 1]
    np.testing.assert_allclose(result, [0.4] * 10 + [0.7] * 10, atol=1e-3)


def test_no_slope_and_intercept_have_a_lower_log_loss():
    generator = np.random.default_rng(1)
    p = expit(generator.normal(0, 2, 300))
    labels = (generator.random(300) < p**2).astype(int)
    model = fit_platt(both(p), labels)
    best = nll(apply_platt(model, both(p)), labels)
    for slope in model.coef_[0, 0] + np.array([-0.1, 0, 0.1]):
        for intercept in model.intercept_[0] + np.array([-0.1, 0, 0.1]):
            assert nll(both(expit(slope * logit(p) + intercept)), labels) >= best - 1e-6


def test_three_classes():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(50_000, 3))
    true = softmax(1.5 * logits + [0.0, 0.5, -0.5], axis=1)
    labels = (true.cumsum(axis=1) < generator.random((len(logits), 1))).sum(axis=1)
    p = softmax(logits, axis=1)
    np.testing.assert_allclose(apply_platt(fit_platt(p, labels), p), true, atol=0.02)


def test_separate_classes_and_certainty_stay_finite():
    p = np.array([0.0, 0.1, 0.9, 1.0])
    result = apply_platt(fit_platt(both(p), np.array([0, 0, 1, 1])), both(p))
    assert np.isfinite(nll(result, np.array([0, 0, 1, 1])))


def published(released: Calibration, classes: int = 2) -> tuple[Predictions, np.ndarray]:
    """Predictions as they are released, and the raw ones."""
    raw = drawn_predictions([2.0, 2.0], images=1500, classes=classes)
    parts = vars(raw) | {"ensemble": released(raw.ensemble), "members": released(raw.members)}
    return Predictions(**parts), raw.ensemble


@pytest.mark.parametrize("released", [Calibration(0.6, None), Calibration(1.7, 0.3, PRIOR, [0.9, 0.1])])
def test_calibration_can_be_undone(released):
    p = np.random.default_rng(0).dirichlet([1, 1], 200)
    np.testing.assert_allclose(released.undo(released(p)), p, atol=1e-9)


def test_methods_differ_by_what_they_are_named_after():
    released = Calibration(0.6, None, PRIOR, PREVALENCE)
    data, raw = published(released)
    result = calibration_methods(data, released, np.array(PREVALENCE))
    before, temperature, platt = (logit(result[name][:, 1]) for name in ("before", "temperature", "platt"))
    np.testing.assert_allclose(before, logit(raw[:, 1]) - logit(0.7), atol=1e-8)
    np.testing.assert_allclose(temperature, logit(raw[:, 1]) / 0.6 - logit(0.7), atol=1e-8)
    slope, intercept = np.polyfit(logit(raw[:, 1]), platt, 1)
    np.testing.assert_allclose(platt, slope * logit(raw[:, 1]) + intercept, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_platt_is_best_on_val_and_independent_of_test_labels(classes):
    prior = [1 / classes] * classes
    raw = drawn_predictions([2.0], images=1500, classes=classes)
    val = raw.splits == "val"
    of_val = np.bincount(raw.labels[val]) / val.sum()
    released = Calibration(
        fit_temperature(raw.ensemble[val], raw.labels[val], prior, of_val.tolist()), None, prior, prior
    )
    data, _ = published(released, classes)
    result = calibration_methods(data, released, of_val)  # so that Platt's refer to val's prevalence
    at_val = Calibration(released.temperature, None, prior, of_val.tolist())(released.undo(data.ensemble))
    assert nll(result["platt"][val], data.labels[val]) <= nll(at_val[val], data.labels[val]) + 1e-6

    changed = vars(data) | {"labels": np.where(val, data.labels, 0)}
    again = calibration_methods(Predictions(**changed), released, of_val)
    for name, p in result.items():
        assert np.array_equal(again[name], p), name


def test_platt_is_shifted_from_the_prevalence_of_val():
    """It is fitted to val, so it is calibrated on val's images weighted to any prevalence."""
    released = Calibration(1.0, None, PREVALENCE, PREVALENCE)
    data, _ = published(released)
    wanted = np.array([0.8, 0.2])
    result = calibration_methods(data, released, wanted)["platt"]
    val = data.splits == "val"
    weights = (wanted / (np.bincount(data.labels[val]) / val.sum()))[data.labels[val]]
    assert scores(data.labels[val], result[val], weights[None])["ece"][0] < 0.05
