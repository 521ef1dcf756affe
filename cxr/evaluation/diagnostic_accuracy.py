"""What a decision between two classes means for a patient: sensitivity, specificity, predictive values."""

import numpy as np

from cxr.evaluation.metrics import confusion
from cxr.evaluation.statistics import predictive_value, wilson


def diagnostic_accuracy(labels: np.ndarray, decisions: np.ndarray, prevalence: float) -> dict[str, object]:
    """What `decisions` mean, each number with its 95 % interval as `value`, `low` and `high`.

    labels, decisions: (N,) int, 0 or 1, at least one image of each class. prevalence: share of the positive
    class where the classifier is to be used.

    sensitivity, specificity, ppv and npv (left out where no image is given the answer) are shares found in
    these images, with Wilson intervals, which keep a width where a bootstrap has none: at a share of 1. ppv
    and npv hold where the classes have these images' shares; expected_ppv and expected_npv follow by Bayes'
    theorem for `prevalence` (`intervals.predictive_value`). The threshold counts as given.
    """
    table = confusion(labels, decisions, 2)
    (tn, fp), (fn, tp) = table.tolist()
    shares = {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
    }
    expected = {
        "expected_ppv": predictive_value(tp, tp + fn, fp, tn + fp, prevalence),
        "expected_npv": predictive_value(tn, tn + fp, fn, tp + fn, 1 - prevalence),
    }
    found: dict[str, object] = {"confusion": table}
    for name, (count, total) in shares.items():
        if total:
            found[name] = _interval(count / total, *wilson(count / total, total))
    return found | {name: _interval(*each) for name, each in expected.items() if each}


def _interval(value: float, low: np.ndarray | float, high: np.ndarray | float) -> dict[str, float]:
    return {"value": value, "low": float(low), "high": float(high)}
