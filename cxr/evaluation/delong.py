"""Per-case contributions to a metric (DeLong components), and the variance over cases that follows from them.

Accuracies, Brier score and log loss are sums over images. To AUC an image contributes its placement
value (DeLong, DeLong & Clarke-Pearson, 1988, https://doi.org/10.2307/2531595), here from sorted scores
instead of a comparison of every positive with every negative (Sun & Xu, 2014,
https://doi.org/10.1109/LSP.2014.2337313).
So one formula gives the variance of all of them, and of means and differences of them, without random
numbers: the variance to which a bootstrap within each class converges.
"""

from dataclasses import dataclass

import numpy as np

from cxr.core.probabilities import SMALLEST, decide

LOWER_IS_BETTER = ("brier", "nll")


@dataclass(frozen=True)
class Contributions:
    """One metric of M models. values: (M,) float64. images: (M, N) float64, each image's contribution."""

    values: np.ndarray
    images: np.ndarray


def contributions(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float | None
) -> dict[str, Contributions]:
    """The compared metrics of metrics/test.json, and the log loss `nll`; AUC, the primary one, is first.

    labels: (N,) int. probabilities: (M, N, classes) float64. threshold: of the decision (`decide`).
    """
    classes = probabilities.shape[2]
    images, counts = len(labels), np.bincount(labels, minlength=classes)
    right = np.stack([decide(of_member, threshold) for of_member in probabilities]) == labels
    squares = ((probabilities - np.eye(classes)[labels]) ** 2).sum(axis=2)
    of_truth = probabilities[:, np.arange(images), labels]
    sums = {"accuracy": right / images, "balanced_accuracy": right / counts[labels] / classes}
    if classes == 2:
        sums["sensitivity"] = right * (labels == 1) / counts[1]
        sums["specificity"] = right * (labels == 0) / counts[0]
    sums["brier"] = squares / images / (2 if classes == 2 else 1)
    sums["nll"] = -np.log(np.clip(of_truth, SMALLEST, 1)) / images
    # Rounded, so that members that are equally good in different images do not differ by a rounding error.
    sums_of = {name: Contributions(terms.sum(axis=1).round(12), terms) for name, terms in sums.items()}
    positive = labels[:, None] == np.arange(classes)
    if classes == 2:
        return {"auc": auc_contributions(positive[:, 1:], probabilities[:, :, 1:])} | sums_of
    return {"auc_ovr_macro": auc_contributions(positive, probabilities)} | sums_of


def auc_contributions(positive: np.ndarray, scores: np.ndarray) -> Contributions:
    """The mean of K AUCs. positive: (N, K) bool. scores: (M, N, K) float, higher for positive images."""
    members, images, count = scores.shape
    values, contributions = np.zeros(members), np.zeros((members, images))
    for k in range(count):
        chosen = positive[:, k]
        placed = placements(chosen, scores[:, :, k])
        values += placed.auc / count
        contributions[:, chosen] += placed.positive / chosen.sum() / count
        contributions[:, ~chosen] += placed.negative / (~chosen).sum() / count
    return Contributions(values.round(12), contributions)


def case_variance(images: np.ndarray, labels: np.ndarray, patients: np.ndarray | None = None) -> np.ndarray:
    """(...) float64: the variance of the sum of `images` over samples of cases with as many of each class.

    images: (..., N) float64, contributions. labels: (N,) int, at least two of each class. patients: (N,) int,
    equal for images of one patient; None: every image is a patient of its own. With patients the sampling
    unit is the patient: contributions are summed within patients before their variance is taken (Obuchowski,
    1997, https://doi.org/10.2307/2533958), with the covariance between classes for patients that have images
    of several.
    """
    groups = [labels == label for label in np.unique(labels)]
    if patients is None:
        return np.sum([group.sum() * images[..., group].var(axis=-1, ddof=1) for group in groups], axis=0)
    names, codes = np.unique(patients, return_inverse=True)
    sums = np.zeros((*images.shape[:-1], len(names)))
    for group in groups:
        present, of_present = np.unique(codes[group], return_inverse=True)
        excess = images[..., group] - images[..., group].mean(axis=-1, keepdims=True)
        order = np.argsort(of_present, kind="stable")
        starts = np.flatnonzero(np.diff(of_present[order], prepend=-1))
        factor = len(present) / max(len(present) - 1, 1)
        sums[..., present] += np.sqrt(factor) * np.add.reduceat(excess[..., order], starts, axis=-1)
    return (sums**2).sum(axis=-1)


@dataclass(frozen=True)
class Placements:
    """Placement values: where cases of one class rank among those of the other; a tie counts half.

    positive: (..., P) float64, of each positive case the fraction of the negatives that score lower, 0 to 1.
    negative: (..., Q) float64, of each negative case the fraction of the positives that score higher, 0 to 1.
    """

    positive: np.ndarray
    negative: np.ndarray

    @property
    def auc(self) -> np.ndarray:
        """(...) float64, 0 to 1."""
        return self.positive.mean(axis=-1)


def placements(positive: np.ndarray, scores: np.ndarray) -> Placements:
    """positive: (N,) bool. scores: (..., N) float, higher for the positive class.

    Raises ValueError if there is no positive or no negative case.
    """
    if positive.all() or not positive.any():
        raise ValueError("an AUC needs at least one positive and one negative case")
    above = _lower(scores[..., ~positive], scores[..., positive])  # negatives below each positive
    below = _lower(scores[..., positive], scores[..., ~positive])
    return Placements(above / (~positive).sum(), 1 - below / positive.sum())


def _lower(others: np.ndarray, cases: np.ndarray) -> np.ndarray:
    """(..., P) float64: how many of `others`, (..., Q), score lower than each of `cases`, (..., P); ties
    count half."""
    rows = zip(np.sort(others).reshape(-1, others.shape[-1]), cases.reshape(-1, cases.shape[-1]), strict=True)
    counts = [(np.searchsorted(row, each) + np.searchsorted(row, each, "right")) / 2 for row, each in rows]
    return np.reshape(counts, cases.shape)
