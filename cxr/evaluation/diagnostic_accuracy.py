"""Diagnostic accuracy of a decision between two classes: sensitivity, specificity, predictive values."""

import numpy as np

from cxr.evaluation.metrics import confusion
from cxr.evaluation.statistics import predictive_value, wilson


def diagnostic_accuracy(labels: np.ndarray, decisions: np.ndarray, prevalence: float) -> dict[str, object]:
    """The confusion matrix, and measures each with a 95 % interval as `value`, `low` and `high`.

    labels, decisions: (N,) int, 0 or 1, at least one image of each class. prevalence: of the positive class,
    0 to 1, where the classifier is to be used.

    sensitivity, specificity, ppv and npv (left out if no image has that decision) are proportions of these
    images with Wilson intervals, which keep a width at a proportion of 1, where a bootstrap has none. ppv and
    npv hold for the prevalence in these images; expected_ppv and expected_npv follow by Bayes' theorem for
    `prevalence` (`statistics.predictive_value`). Uncertainty of the threshold is not included.
    """
    table = confusion(labels, decisions, 2)
    (tn, fp), (fn, tp) = table.tolist()
    proportions = {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
    }
    expected = {
        "expected_ppv": predictive_value(tp, tp + fn, fp, tn + fp, prevalence),
        "expected_npv": predictive_value(tn, tn + fp, fn, tp + fn, 1 - prevalence),
    }
    measures: dict[str, object] = {"confusion": table}
    for name, (count, total) in proportions.items():
        if total:
            measures[name] = _interval(count / total, *wilson(count / total, total))
    return measures | {name: _interval(*estimate) for name, estimate in expected.items() if estimate}


def _interval(value: float, low: np.ndarray | float, high: np.ndarray | float) -> dict[str, float]:
    return {"value": value, "low": float(low), "high": float(high)}
