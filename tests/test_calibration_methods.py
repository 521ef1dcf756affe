"""Three ways to calibrate the same predictions, at one prevalence; the shipped one can be undone."""

import numpy as np
import pytest
from scipy.special import logit

from cxr.calibration import Calibration, fit_temperature
from cxr.calibration_methods import methods
from cxr.likelihood import nll
from cxr.predictions import Predictions
from cxr.reliability import scores
from tests.builders import drawn_predictions

PRIOR, PREVALENCE = [0.3, 0.7], [0.5, 0.5]


def published(shipped: Calibration, classes: int = 2) -> tuple[Predictions, np.ndarray]:
    """Predictions as they are shipped, and the raw ones."""
    raw = drawn_predictions([2.0, 2.0], films=1500, classes=classes)
    parts = vars(raw) | {"ensemble": shipped(raw.ensemble), "members": shipped(raw.members)}
    return Predictions(**parts), raw.ensemble


@pytest.mark.parametrize("shipped", [Calibration(0.6, None), Calibration(1.7, 0.3, PRIOR, [0.9, 0.1])])
def test_calibration_can_be_undone(shipped):
    p = np.random.default_rng(0).dirichlet([1, 1], 200)
    np.testing.assert_allclose(shipped.undo(shipped(p)), p, atol=1e-9)


def test_ways_differ_by_what_they_are_named_after():
    shipped = Calibration(0.6, None, PRIOR, PREVALENCE)
    data, raw = published(shipped)
    found = methods(data, shipped, np.array(PREVALENCE))
    before, temperature, platt = (logit(found[name][:, 1]) for name in ("before", "temperature", "platt"))
    np.testing.assert_allclose(before, logit(raw[:, 1]) - logit(0.7), atol=1e-8)
    np.testing.assert_allclose(temperature, logit(raw[:, 1]) / 0.6 - logit(0.7), atol=1e-8)
    slope, intercept = np.polyfit(logit(raw[:, 1]), platt, 1)
    np.testing.assert_allclose(platt, slope * logit(raw[:, 1]) + intercept, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_val_prefers_platt_and_its_test_films_have_no_say(classes):
    prior = [1 / classes] * classes
    raw = drawn_predictions([2.0], films=1500, classes=classes)
    val = raw.splits == "val"
    of_val = np.bincount(raw.labels[val]) / val.sum()
    shipped = Calibration(
        fit_temperature(raw.ensemble[val], raw.labels[val], prior, of_val.tolist()), None, prior, prior
    )
    data, _ = published(shipped, classes)
    found = methods(data, shipped, of_val)  # so that Platt's refer to val's shares
    at_val = Calibration(shipped.temperature, None, prior, of_val.tolist())(shipped.undo(data.ensemble))
    assert nll(found["platt"][val], data.labels[val]) <= nll(at_val[val], data.labels[val]) + 1e-6

    changed = vars(data) | {"labels": np.where(val, data.labels, 0)}
    again = methods(Predictions(**changed), shipped, of_val)
    for name, p in found.items():
        assert np.array_equal(again[name], p), name


def test_platt_is_moved_from_the_shares_of_val():
    """It is fitted to val, so val's films, weighted to any prevalence, show it calibrated there."""
    shipped = Calibration(1.0, None, PREVALENCE, PREVALENCE)
    data, _ = published(shipped)
    wanted = np.array([0.8, 0.2])
    found = methods(data, shipped, wanted)["platt"]
    val = data.splits == "val"
    weights = (wanted / (np.bincount(data.labels[val]) / val.sum()))[data.labels[val]]
    assert scores(data.labels[val], found[val], weights[None])["ece"][0] < 0.05
