"""ROC and precision-recall curves of one class against the rest, with their areas and a band around them.

The band is pointwise: at each false positive rate the 2.5th and 97.5th percentile of the sensitivity (at each
recall those of the precision) of the curves of bootstrap resamples of the images within each class, averaged
vertically (Fawcett, 2006, https://doi.org/10.1016/j.patrec.2005.10.010). It is for one point of the curve,
not for the whole curve at once, and takes the training as given, as the intervals in metrics/test.json do.
"""

from dataclasses import dataclass

import numpy as np

from cxr.evaluation.statistics import blocks, interval

GRID = np.linspace(0, 1, 201)  # false positive rates, or recalls, at which a band is computed


@dataclass(frozen=True)
class Band:
    """low, high: (201,) float64, 0 to 1, at the points of `GRID`."""

    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class OneVsRest:
    """The bands of one class, and its `auc` and `average_precision` with `value`, `low` and `high`."""

    roc: Band
    precision_recall: Band
    areas: dict[str, dict[str, float]]


def ranked_counts(
    positive: np.ndarray, probability: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives if the images of the g highest probabilities are called positive, (R, G)
    float64 each, for each row of `weights` and g = 1 to G, the number of distinct probabilities.

    positive: (N,) bool. probability: (N,) float. weights: (R, N) float, of the images.
    """
    order = np.argsort(-probability, kind="stable")
    starts = np.flatnonzero(np.diff(-probability[order], prepend=-np.inf))  # ties stay together
    true, false = (
        np.add.reduceat(weights[:, order] * kind[order], starts, axis=1).cumsum(axis=1)
        for kind in (positive, ~positive)
    )
    return true, false


def areas(true: np.ndarray, false: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC and average precision, (R,) float64 each, of `ranked_counts`."""
    hits, alarms = (np.diff(counts, prepend=0, axis=1) for counts in (true, false))
    positives, negatives = true[:, -1], false[:, -1]
    below = negatives[:, None] - false + alarms / 2  # negatives that score lower, ties half
    return (
        (hits * below).sum(axis=1) / (positives * negatives),
        (hits * _precision(true, false)).sum(axis=1) / positives,
    )


def one_vs_rest(
    labels: np.ndarray,
    probabilities: np.ndarray,
    label: int,
    resamples: int,
    patients: np.ndarray | None = None,
) -> OneVsRest:
    """labels: (N,) int, at least one image of `label` and one of another class. probabilities: (N, classes).
    resamples: bootstrap samples of the images within each class. patients: see `statistics.blocks`."""
    positive, probability = labels == label, probabilities[:, label]
    drawn: list[tuple[np.ndarray, ...]] = []
    for weights in blocks(labels, resamples, patients=patients):
        counts = ranked_counts(positive, probability, weights)
        drawn.append((_roc_on_grid(*counts), _precision_on_grid(*counts), *areas(*counts)))
    roc, precision_recall, *of_areas = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    values = areas(*ranked_counts(positive, probability, np.ones((1, len(labels)))))
    return OneVsRest(
        roc=_band(roc),
        precision_recall=_band(precision_recall),
        areas={
            name: {"value": value.item(), **interval(name, value.item(), samples)}
            for name, value, samples in zip(("auc", "average_precision"), values, of_areas, strict=True)
        },
    )


def _band(samples: np.ndarray) -> Band:
    return Band(*np.percentile(samples, [2.5, 97.5], axis=0))


def _roc_on_grid(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """(R, 201): the sensitivity at each false positive rate; the highest where the curve is vertical."""
    x, y = (np.pad(counts / counts[:, -1:], ((0, 0), (1, 0))) for counts in (false, true))
    return np.array([np.interp(GRID, *curve) for curve in zip(x, y, strict=True)])


def _precision_on_grid(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """(R, 201): the precision where each recall is first reached, without interpolation, which would be too
    optimistic (Davis & Goadrich, 2006, https://doi.org/10.1145/1143844.1143874)."""
    recall = true / true[:, -1:]
    wanted = (GRID - 1e-12).clip(1e-9)  # before the first true positive there is no precision
    first = np.array([np.searchsorted(row, wanted) for row in recall])
    return np.take_along_axis(_precision(true, false), first, axis=1)


def _precision(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    called = true + false
    return np.divide(true, called, out=np.zeros(called.shape), where=called != 0)
