"""The area under the ROC curve (AUC), and the covariance of AUCs that were measured on the same cases.

DeLong, DeLong & Clarke-Pearson, 1988, https://doi.org/10.2307/2531595, from midranks instead of a comparison
of every positive with every negative: Sun & Xu, 2014, https://doi.org/10.1109/LSP.2014.2337313.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata


@dataclass(frozen=True)
class Placements:
    """Where cases of one class lie among those of the other; a tie counts half.

    positive: (..., P) float64, of each positive case the share of the negatives that score lower, 0 to 1.
    negative: (..., Q) float64, of each negative case the share of the positives that score higher, 0 to 1.
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
    ranks = rankdata(scores, axis=-1)
    above = ranks[..., positive] - rankdata(scores[..., positive], axis=-1)  # negatives below each positive
    below = ranks[..., ~positive] - rankdata(scores[..., ~positive], axis=-1)
    return Placements(above / (~positive).sum(), 1 - below / positive.sum())


def covariance(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(M, M) float64, the estimated covariance of M AUCs. positive: (N,) bool. scores: (M, N) float.

    Raises ValueError if there are fewer than two positive or two negative cases.
    """
    count = positive.sum()
    if min(count, len(positive) - count) < 2:
        raise ValueError("the variance of an AUC needs at least two positive and two negative cases")
    found = placements(positive, np.atleast_2d(scores))
    parts = [np.atleast_2d(np.cov(values)) / values.shape[1] for values in (found.positive, found.negative)]
    return parts[0] + parts[1]
