"""Robustness to corruptions, in the measures of MedMNIST-C (see `cxr.evaluation.corruptions`).

The balanced error is 1 - balanced accuracy, at the released decision. BE of a kind is its
mean over severities, rBE its difference from the balanced error on uncorrupted images; both are averaged over
kinds. The paper divides each by AlexNet's; here they are error rates and their differences, undivided.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from cxr.core.probabilities import decide
from cxr.evaluation.statistics import blocks, interval


def balanced_errors(
    labels: np.ndarray,
    probabilities: np.ndarray,
    resamples: int,
    threshold: float | None = None,
    patients: np.ndarray | None = None,
) -> np.ndarray:
    """(1 + resamples, conditions) float64: of the images as they are, then of bootstrap samples of them.

    labels: (N,) int; probabilities: (conditions, N, classes), of the same images under each condition.
    threshold: of the decision (see `decide`). patients: see `statistics.blocks`.
    Images are drawn within each class, and the same ones for all conditions, so that differences are paired.
    """
    weight = 1 / (np.bincount(labels)[labels] * probabilities.shape[-1])
    decisions = np.stack([decide(condition, threshold) for condition in probabilities])
    images = np.where(decisions == labels, 0, weight)  # contributions to the error
    drawn = [weights @ images.T for weights in blocks(labels, resamples, patients=patients)]
    return np.concatenate([images.sum(axis=1)[None], *drawn])


def mean_errors(clean: np.ndarray, corrupted: Sequence[np.ndarray]) -> dict[str, float]:
    """BE and rBE with their 95 % intervals, as a mean over `corrupted`.

    clean: (1 + resamples,) and corrupted: (1 + resamples, severities) for each kind, of `balanced_errors`.
    """
    be = np.mean([errors.mean(axis=1) for errors in corrupted], axis=0)
    return named_interval("be", be) | named_interval("rbe", be - clean)


def named_interval(name: str, samples: np.ndarray) -> dict[str, float]:
    """The first of `samples`, a value, and its 95 % interval from the others, its resamples, as `name`,
    `name`_low and `name`_high."""
    ends = interval(name, float(samples[0]), samples[1:])
    return {name: float(samples[0])} | {f"{name}_{end}": value for end, value in ends.items()}


def macro_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve, 0 to 1; with three classes or more the mean of the one-vs-rest AUCs.

    labels: (N,) int, probabilities: (N, classes) float.
    """
    truth = np.eye(probabilities.shape[-1])[labels]
    return float(roc_auc_score(truth, probabilities, average="macro"))
