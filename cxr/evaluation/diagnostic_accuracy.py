"""Diagnostic accuracy of a decision between two classes: sensitivity, specificity, predictive values."""

from collections.abc import Mapping

import numpy as np

from cxr.evaluation.metrics import confusion
from cxr.evaluation.statistics import effective_cases, predictive_value, wilson


def diagnostic_accuracy(
    labels: np.ndarray, decisions: np.ndarray, prevalence: float, patients: np.ndarray | None = None
) -> dict[str, object]:
    """The confusion matrix, and measures each with a 95 % interval as `value`, `low` and `high`.

    labels, decisions: (N,) int, 0 or 1, at least one image of each class. prevalence: of the positive class,
    0 to 1, where the classifier is to be used. patients: (N,) int, equal for images of one patient, of which
    the intervals then count `effective_cases`.

    sensitivity, specificity, ppv and npv (left out if no image has that decision) are proportions of these
    images with Wilson intervals, which keep a width at a proportion of 1, where a bootstrap has none. ppv and
    npv hold for the prevalence in these images; expected_ppv and expected_npv follow by Bayes' theorem for
    `prevalence` (`statistics.predictive_value`). Uncertainty of the threshold is not included.
    """
    right = labels == decisions
    proportions = {
        "sensitivity": labels == 1,
        "specificity": labels == 0,
        "ppv": decisions == 1,
        "npv": decisions == 0,
    }
    measures: dict[str, object] = {"confusion": confusion(labels, decisions, 2)}
    for name, of in proportions.items():
        if of.any():
            measures[name] = proportion_interval(right, of, patients)
    return measures | {
        f"expected_{name}": value
        for name, value in predictive_values(
            effective_counts(labels, decisions, patients), prevalence
        ).items()
    }


def proportion_interval(hits: np.ndarray, of: np.ndarray, patients: np.ndarray | None) -> dict[str, float]:
    """The proportion of `hits` in the images `of`, (N,) bool each, at least one, with Wilson's interval."""
    value = float(hits[of].mean())
    return _interval(value, *wilson(value, effective_cases(of, patients)))


def effective_counts(
    labels: np.ndarray, decisions: np.ndarray, patients: np.ndarray | None
) -> dict[str, float]:
    """`tp`, `fn`, `fp` and `tn`, in each class in proportion to the images, together `effective_cases`."""
    counts: dict[str, float] = {}
    for label, (called, not_called) in ((1, ("tp", "fn")), (0, ("fp", "tn"))):
        of = labels == label
        factor = effective_cases(of, patients) / of.sum()
        counts[called] = float((decisions[of] == 1).sum() * factor)
        counts[not_called] = float((decisions[of] == 0).sum() * factor)
    return counts


def predictive_values(counts: Mapping[str, float], prevalence: float) -> dict[str, dict[str, float]]:
    """`ppv` and `npv` at a prevalence above 0 and below 1; one is left out if no image has its decision.

    counts: `tp`, `fn`, `fp` and `tn`."""
    tp, fn, fp, tn = (counts[name] for name in ("tp", "fn", "fp", "tn"))
    found = {
        "ppv": predictive_value(tp, tp + fn, fp, tn + fp, prevalence),
        "npv": predictive_value(tn, tn + fp, fn, tp + fn, 1 - prevalence),
    }
    return {name: _interval(*estimate) for name, estimate in found.items() if estimate}


def _interval(value: float, low: np.ndarray | float, high: np.ndarray | float) -> dict[str, float]:
    return {"value": value, "low": float(low), "high": float(high)}
