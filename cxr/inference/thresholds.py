"""Decision thresholds (operating points) for two classes, chosen on val."""

import numpy as np
from sklearn.metrics import roc_curve

DECIMALS = 6  # as models/calibration.json stores a threshold


def choose_thresholds(positive: np.ndarray, probability: np.ndarray, target: float) -> dict[str, float]:
    """The threshold of each rule. positive: (N,) bool, both values present. probability: (N,) float of the
    positive class. target: sensitivity or specificity, 0 to 1.

    youden: see `youden_threshold`. target_sensitivity: the highest threshold with a sensitivity of `target`
    or more, which has the highest specificity among these. target_specificity: the lowest with a specificity
    of `target` or more, or the highest candidate if too many negative images have probability 1. one_half:
    0.5. All but the last lie half-way between two observed probabilities.
    """
    levels = np.unique(np.concatenate([probability, [0.0, 1.0]]))
    candidates = np.unique(np.append((levels[:-1] + levels[1:]) / 2, 0.0).round(DECIMALS))
    false_negatives, true_negatives = (
        np.searchsorted(np.sort(probability[mask]), candidates) for mask in (positive, ~positive)
    )
    sensitive = candidates[(positive.sum() - false_negatives) / positive.sum() >= target]
    specific = candidates[true_negatives / (~positive).sum() >= target]
    return {
        "youden": round(youden_threshold(positive, probability), DECIMALS),
        "target_sensitivity": float(sensitive[-1]),
        "target_specificity": float(specific[0] if len(specific) else candidates[-1]),
        "one_half": 0.5,
    }


def youden_threshold(positive: np.ndarray, probability: np.ndarray) -> float:
    """The threshold of the highest sensitivity + specificity - 1 (Youden, 1950, "Index for rating
    diagnostic tests").

    positive: (N,) bool, probability: (N,) float of the positive class. It lies half-way between two observed
    probabilities; among equally good ones it is the nearest to 0.5.
    """
    false_positive, true_positive, scores = roc_curve(positive, probability, drop_intermediate=False)
    following = np.append(scores[1:], 0.0)  # scores descend; scores[0] is infinite: nothing is positive
    between = (np.minimum(scores, 1.0) + following) / 2
    index = true_positive - false_positive
    best = between[np.isclose(index, index.max(), rtol=0, atol=1e-12)]
    return float(best[np.argmin(np.abs(best - 0.5))])
