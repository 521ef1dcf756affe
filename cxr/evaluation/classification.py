"""Precision, recall and F1 of each class and their averages, as scikit-learn's `classification_report`."""

import numpy as np

from cxr.evaluation.metrics import decision_tables, precision_recall_f1
from cxr.evaluation.statistics import blocks, interval
from cxr.inference.predictions import Predictions

MEASURES = ("precision", "recall", "f1")
Row = dict[str, dict[str, float] | int]


def classification_report(
    split: Predictions, threshold: float | None, resamples: int, thresholds: np.ndarray | None = None
) -> dict[str, dict[str, Row]]:
    """`per_class`, by class, and `averages`, `macro` (every class counts alike) and `weighted` (by support).

    Each row has `precision`, `recall` and `f1` of the decision at `threshold`, with `value` and the 95 %
    interval `low` to `high`, and `support`, a number of images. resamples, thresholds: as in
    `metrics.summarise`.
    """
    at = None if threshold is None else np.array([threshold])
    (values,) = _rows(split, at, np.ones((1, len(split.labels))))
    drawn, done = [], 0
    for weights in blocks(split.labels, resamples, patients=split.patients):
        of_block = at if thresholds is None else thresholds[done : done + len(weights)]
        drawn.append(_rows(split, of_block, weights))
        done += len(weights)
    samples = np.concatenate(drawn)
    support = np.bincount(split.labels, minlength=len(split.classes)).tolist()
    rows: list[Row] = []
    for row, count in enumerate([*support, sum(support), sum(support)]):
        rows.append(
            {
                name: {
                    "value": float(values[row, column]),
                    **interval(name, values[row, column], samples[:, row, column]),
                }
                for column, name in enumerate(MEASURES)
            }
            | {"support": count}
        )
    *of_classes, macro, weighted = rows
    return {
        "per_class": dict(zip(split.classes, of_classes, strict=True)),
        "averages": {"macro": macro, "weighted": weighted},
    }


def _rows(split: Predictions, thresholds: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """(R, classes + 2, 3) float64: `MEASURES` of each class, then their macro and weighted average."""
    tables = decision_tables(split.labels, split.ensemble, thresholds, weights)
    measures = np.stack(precision_recall_f1(tables), axis=2)
    shares = tables.sum(axis=2) / weights.sum(axis=1, keepdims=True)
    weighted = (measures * shares[:, :, None]).sum(axis=1)
    return np.concatenate([measures, measures.mean(axis=1)[:, None], weighted[:, None]], axis=1)
