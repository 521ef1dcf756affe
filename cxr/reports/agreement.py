"""How two lists of names agree: the proportion of equal ones, Cohen's kappa, and counts by true class.

A proportion depends on how frequent the classes are: where three in four cases are diseased, a text that
always says so is right in three of four. Kappa (Cohen, 1960, https://doi.org/10.1177/001316446002000104) and
balanced accuracy do not reward it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from cxr.evaluation.statistics import blocks, interval, wilson

RESAMPLES = 2000


def agreement(names: Sequence[str], others: Sequence[str]) -> dict[str, float]:
    """The proportion of `names` that equal `others`, with its 95 % Wilson interval. "unclear" equals no
    class."""
    return _proportion(sum(a == b for a, b in zip(names, others, strict=True)), len(names))


def kappa(names: Sequence[str], others: Sequence[str]) -> dict[str, float] | None:
    """Cohen's kappa with its 95 % bootstrap interval; None where all `names` and `others` are one name, for
    which it is not defined. "unclear" is a name of its own.

    Resamples keep how often each of the `others` occurs. The interval has no width where all are equal.
    """
    categories, coded = np.unique([*names, *others], return_inverse=True)
    if len(categories) == 1:
        return None
    first, second = coded.reshape(2, -1)
    value = float(cohen_kappa_score(names, others))
    pairs = np.eye(len(categories) ** 2)[first * len(categories) + second]
    tables = np.concatenate([weights @ pairs for weights in blocks(second, RESAMPLES)])
    samples = _kappas(tables.reshape(-1, len(categories), len(categories)) / len(names))
    # With one name among the `others` a resample may hold nothing else.
    return {"value": value, **interval("kappa", value, samples[np.isfinite(samples)])}


def by_true_class(
    names: Sequence[str], labels: Sequence[str], classes: Sequence[str], others: Sequence[str] = ()
) -> dict[str, Any]:
    """`verdicts`: how often each of `classes` and `others` was given, by true class. `recall`: of each class
    with cases, with its 95 % Wilson interval. `balanced_accuracy`: their mean."""
    given = [*classes, *others]
    pairs = list(zip(labels, names, strict=True))
    verdicts = {label: {name: pairs.count((label, name)) for name in given} for label in classes}
    recall = {
        label: _proportion(counts[label], sum(counts.values()))
        for label, counts in verdicts.items()
        if any(counts.values())
    }
    balanced = float(np.mean([entry["value"] for entry in recall.values()]))
    return {"verdicts": verdicts, "recall": recall, "balanced_accuracy": balanced}


def _proportion(hits: int, count: int) -> dict[str, float]:
    low, high = wilson(hits / count, count)
    return {"value": hits / count, "low": float(low), "high": float(high)}


def _kappas(tables: np.ndarray) -> np.ndarray:
    """(R,) float64, NaN where not defined. tables: (R, K, K), proportions that add up to 1."""
    observed = np.trace(tables, axis1=1, axis2=2)
    expected = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1)
    possible = 1 - expected
    return np.divide(observed - expected, possible, out=np.full(len(tables), np.nan), where=possible > 1e-12)
