"""How uncertain the released threshold is, from other samples of val."""

from dataclasses import replace

import numpy as np
import pytest

from cxr.evaluation.decision import threshold_samples
from cxr.inference.calibration import Calibration, fit_temperature
from cxr.inference.predictions import Predictions
from cxr.inference.thresholds import choose_thresholds, youden_threshold

TRAIN = [0.3, 0.7]


def val(images: int, seed: int = 0) -> Predictions:
    generator = np.random.default_rng(seed)
    labels = (generator.random(images) < 0.7).astype(int)
    p = 1 / (1 + np.exp(-(3 * labels - 1.5 + generator.normal(size=images))))
    both = np.stack([1 - p, p], axis=1)
    return Predictions(
        ["normal", "pneumonia"], np.arange(images), np.full(images, "val"), labels, both, both[None]
    )


def released(rule: str | float, predictions: Predictions) -> tuple[Predictions, Calibration]:
    """The predictions after temperature scaling, and the calibration that made them so."""
    temperature = fit_temperature(predictions.ensemble, predictions.labels, [0.5, 0.5], TRAIN)
    scaled = Calibration(temperature, None, [0.5, 0.5], [0.5, 0.5])(predictions.ensemble)
    predictions = replace(predictions, ensemble=scaled)
    points = choose_thresholds(predictions.labels == 1, predictions.ensemble[:, 1], 0.95)
    if isinstance(rule, float):
        points["fixed"] = rule
    threshold = rule if isinstance(rule, float) else points[rule]
    return predictions, Calibration(temperature, threshold, [0.5, 0.5], [0.5, 0.5], points)


def test_a_chosen_threshold_is_chosen_anew_on_each_sample():
    predictions, calibration = released("youden", val(120))
    drawn = threshold_samples(predictions, calibration, TRAIN, 0.95, 300)
    generator = np.random.default_rng(9)
    positive, p = predictions.labels == 1, predictions.ensemble[:, 1]
    others = []
    for _ in range(300):
        rows = np.concatenate(
            [generator.choice(np.flatnonzero(kind), kind.sum()) for kind in (positive, ~positive)]
        )
        others.append(youden_threshold(positive[rows], p[rows]))
    assert np.std(drawn) == pytest.approx(np.std(others), rel=0.25)
    assert np.median(drawn) == pytest.approx(np.median(others), abs=0.05)
    assert np.std(drawn) > 0.02


def test_one_half_does_not_move_where_probabilities_are_not_adjusted():
    predictions, calibration = released("one_half", val(120))
    drawn = threshold_samples(predictions, calibration, TRAIN, 0.95, 20)
    np.testing.assert_allclose(drawn, 0.5, atol=1e-9)


def test_another_fixed_threshold_moves_with_the_temperature_less_in_a_larger_val():
    spreads = []
    for images in (60, 960):
        predictions, calibration = released(0.2, val(images))
        drawn = threshold_samples(predictions, calibration, TRAIN, 0.95, 60)
        assert abs(np.median(drawn) - 0.2) < 0.08
        spreads.append(np.std(drawn))
    assert spreads[0] > 2 * spreads[1] > 0


def test_three_classes_have_no_threshold():
    predictions = val(30)
    assert threshold_samples(predictions, Calibration(1.0, None), TRAIN, 0.95, 5) is None
