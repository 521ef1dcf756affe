"""The uncertainty of the released decision: the threshold, or the temperature below it, comes from val, and
another val would have given another."""

import numpy as np

from cxr.evaluation.statistics import blocks
from cxr.inference.calibration import Calibration, fit_temperature
from cxr.inference.predictions import Predictions
from cxr.inference.thresholds import choose_thresholds


def threshold_samples(
    val: Predictions, released: Calibration, prevalence: list[float], target: float, resamples: int
) -> np.ndarray | None:
    """(resamples,) float64: the threshold that each bootstrap sample of val would have given, as a threshold
    on the released probability; None with three classes or more.

    A rule that ranks the images of val (youden and the targets) finds its threshold anew on each sample; the
    temperature moves probability and threshold alike, so it needs none. A fixed threshold stays where it is,
    but the temperature, fitted anew to each sample, moves the probabilities around it: not at all where it is
    one half of a probability without adjustment of the prevalence. prevalence: (classes,) of train, at which
    the temperature is fitted. target: `calibrate.target`.
    """
    if released.threshold is None or released.operating_points is None:
        return None
    rule = next(name for name, point in released.operating_points.items() if point == released.threshold)
    positive = val.labels == 1
    raw = released.undo(val.ensemble)
    drawn = []
    for block in blocks(val.labels, resamples, seed=1, patients=val.patients):
        for counts in block.astype(int):
            rows = np.repeat(np.arange(len(counts)), counts)
            if rule in ("fixed", "one_half"):
                temperature = fit_temperature(raw[rows], val.labels[rows], released.prior, prevalence)
                drawn.append(_on_released_scale(released, temperature))
            else:
                points = choose_thresholds(positive[rows], val.ensemble[rows, 1], target)
                drawn.append(points[rule])
    return np.array(drawn)


def _on_released_scale(released: Calibration, temperature: float) -> float:
    """The released probability of an image whose probability at `temperature` is the released threshold."""
    assert released.threshold is not None
    of_sample = Calibration(temperature, None, released.prior, released.prevalence)
    boundary = np.array([[1 - released.threshold, released.threshold]])
    return float(released(of_sample.undo(boundary))[0, 1])
