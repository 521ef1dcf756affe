"""Energy distance, ECE, DeLong's and Wilson's intervals against the numbers of dcor 0.7, netcal 1.4.0 and
confidenceinterval 1.0.5 for the same formula-made data.

The packages are no dependency of the tests, since dcor alone needs 180 MB (numba). Their calls stand beside
their numbers.
"""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from cxr.commands.validate.intervals import auc_interval
from cxr.evaluation.diagnostic_accuracy import diagnostic_accuracy
from cxr.evaluation.metrics import delong
from cxr.evaluation.reliability import calibration_error
from cxr.evaluation.shift import energy_distance
from cxr.inference.predictions import Predictions

N = np.arange(90)
SECOND = N >= 50
POINTS = np.stack([np.sin(3 * N) + 0.4 * SECOND, np.cos(5 * N), np.sin(7 * N + 1) * np.cos(N)], axis=1)
LABELS = (np.sin(11 * N) + 0.8 * np.sin(3 * N) > 0).astype(int)
P = 1 / (1 + np.exp(-(1.5 * np.sin(3 * N) + 0.3 * np.cos(13 * N))))
BOTH = np.stack([1 - P, P], axis=1)


def test_energy_distance_is_dcors() -> None:
    """dcor.energy_distance(first, second, estimation_stat="u_statistic"); ours is divided by `across`."""
    across = 2 * cdist(POINTS[~SECOND], POINTS[SECOND]).mean()
    assert energy_distance(POINTS, SECOND)[0] * across == pytest.approx(0.0333055, abs=1e-6)


def test_ece_is_netcals() -> None:
    """netcal.metrics.ECE(15, equal_intervals=False).measure(P, LABELS)"""
    assert calibration_error(P, LABELS == 1, np.ones((1, 90)))[0] == pytest.approx(0.2111325587, abs=1e-9)


def test_interval_of_the_auc_is_confidenceintervals() -> None:
    """confidenceinterval.roc_auc_score(LABELS, P, confidence_level=0.95)"""
    split = Predictions(["normal", "pneumonia"], N, np.full(90, "test"), LABELS, BOTH, BOTH[None])
    ends = delong(split)
    assert (ends["low"], ends["high"]) == pytest.approx((0.6365571854, 0.8498356702), abs=1e-7)
    bounded = auc_interval(LABELS, BOTH, None)
    assert bounded.value == pytest.approx(0.7431964, abs=1e-6)
    assert bounded.low <= ends["low"] + 1e-9
    assert bounded.high >= ends["high"] - 1e-9


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sensitivity", (0.7441860448, 0.5976159651, 0.8507048288)),  # tpr_score
        ("specificity", (0.7021276581, 0.5602232608, 0.8134874950)),  # tnr_score
        ("ppv", (0.6956521724, 0.5519435355, 0.8092015920)),  # ppv_score
        ("npv", (0.7499999983, 0.6055943364, 0.8542578617)),  # npv_score
    ],
)
def test_proportions_are_confidenceintervals(name: str, expected: tuple[float, float, float]) -> None:
    """confidenceinterval.<name>(LABELS, P >= 0.5, confidence_level=0.95, method="wilson")"""
    measured = diagnostic_accuracy(LABELS, (P >= 0.5).astype(int), 0.3)[name]
    assert tuple(measured.values()) == pytest.approx(expected, abs=1e-7)
