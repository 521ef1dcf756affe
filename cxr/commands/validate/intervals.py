"""95 % intervals that also hold for few radiographs, and for several of one patient.

At a sensitivity or an AUC of 1 a bootstrap's interval and DeLong's have no width, so that a few radiographs
would seem to prove a perfect classifier. Proportions get Wilson's interval, AUCs the wider of DeLong's and
Newcombe's, and sums and differences of them follow from these (`combined`). Other metrics get the bootstrap
of metrics/test.json.

Images of one patient are alike, so that they count less than as many patients. The bootstrap resamples
patients, DeLong's variance sums over them, and the other intervals take the number of images for
`effective_cases`, as if images of one patient were equal: they are rather too wide than too narrow.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cxr.evaluation import diagnostic_accuracy
from cxr.evaluation.delong import auc_contributions, case_variance, placements
from cxr.evaluation.statistics import Z, effective_cases


class Bounded(NamedTuple):
    """A value with the ends of its 95 % interval, and the method that gave them."""

    value: float
    low: float
    high: float
    method: str


def proportion(hits: np.ndarray, of: np.ndarray, patients: np.ndarray | None) -> Bounded:
    """As `diagnostic_accuracy.proportion_interval`."""
    ends = diagnostic_accuracy.proportion_interval(hits, of, patients)
    return Bounded(ends["value"], ends["low"], ends["high"], "Wilson")


def combined(parts: Sequence[tuple[float, Bounded]]) -> tuple[float, float, float]:
    """The sum of `parts`, independent estimates each with its factor, and the ends of its interval.

    From the distance of each end from its value, as if the parts were at these ends: the method of variance
    estimates recovery (Zou & Donner, 2008, https://doi.org/10.1002/sim.3095; for two proportions with
    Wilson's intervals it is that of Newcombe, 1998).
    """
    value = sum(factor * part.value for factor, part in parts)
    down, up = 0.0, 0.0
    for factor, part in parts:
        ends = factor * (part.low - part.value), factor * (part.high - part.value)
        down, up = down + min(ends) ** 2, up + max(ends) ** 2
    return value, value - down**0.5, value + up**0.5


def auc_interval(labels: np.ndarray, probabilities: np.ndarray, patients: np.ndarray | None) -> Bounded:
    """The AUC, of more than two classes the mean of those of one against the rest, with the wider of DeLong's
    and Newcombe's interval at each end.

    labels: (N,) int, at least two of each class. probabilities: (N, classes). patients: (N,) int or None, see
    `case_variance`.
    """
    classes = probabilities.shape[1]
    shown = np.arange(1 if classes == 2 else 0, classes)
    area = auc_contributions(labels[:, None] == shown, probabilities[None, :, shown])
    value, of_images = float(area.values[0]), area.images[0]
    half = Z * float(case_variance(of_images, labels, patients)) ** 0.5
    # The mean of the ends is wide enough however the AUCs of several classes correlate.
    low, high = np.mean(
        [_of_one(labels == label, probabilities[:, label], patients) for label in shown], axis=0
    )
    low, high = max(0.0, min(value - half, low)), min(1.0, max(value + half, high))
    return Bounded(value, float(low), float(high), "DeLong, Newcombe")


def _of_one(positive: np.ndarray, scores: np.ndarray, patients: np.ndarray | None) -> tuple[float, float]:
    """Newcombe's interval. positive: (N,) bool. scores: (N,) float."""
    negatives, positives = (effective_cases(mask, patients) for mask in (~positive, positive))
    return newcombe(float(placements(positive, scores).auc), negatives, positives)


def newcombe(area: float, negatives: float, positives: float) -> tuple[float, float]:
    """The ends of the interval of an AUC from its value and the numbers of cases alone, which has a width at
    an AUC of 1: method 5 of Newcombe, 2006, https://doi.org/10.1002/sim.2324."""
    mean = (negatives + positives) / 2 - 1

    def beyond(true: float) -> float:
        spread = 1 + mean * ((1 - true) / (2 - true) + true / (1 + true))
        return float(abs(area - true) - Z * np.sqrt(true * (1 - true) * spread / (negatives * positives)))

    near = 1e-9
    low = _root(beyond, 0.0, area - near) if area > near else 0.0
    high = _root(beyond, 1.0, area + near) if area < 1 - near else 1.0
    return low, high


def _root(function: Callable[[float], float], above: float, below: float) -> float:
    """Where `function`, positive at `above` and negative at `below`, is 0, by bisection."""
    for _ in range(50):
        middle = (above + below) / 2
        above, below = (middle, below) if function(middle) > 0 else (above, middle)
    return (above + below) / 2
