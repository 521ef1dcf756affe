"""Decision thresholds for two classes, chosen on val."""

import numpy as np
from sklearn.metrics import roc_curve

DECIMALS = 6  # as models/calibration.json keeps a threshold


def choose_thresholds(positive: np.ndarray, probability: np.ndarray, target: float) -> dict[str, float]:
    """A threshold for each rule. positive: (N,) bool, probability: (N,) float of the positive class.

    youden: the highest sensitivity + specificity. target_sensitivity: the highest threshold whose sensitivity
    is `target` or more, so that specificity is as high as it can be. target_specificity: the lowest whose
    specificity is `target` or more, or the highest there is, if images of the negative class are at
    probability 1. one_half: 0.5. All lie half-way between two observed probabilities but the last.
    """
    levels = np.unique(np.concatenate([probability, [0.0, 1.0]]))
    candidates = np.unique(np.append((levels[:-1] + levels[1:]) / 2, 0.0).round(DECIMALS))
    missed, spared = (
        np.searchsorted(np.sort(probability[kind]), candidates) for kind in (positive, ~positive)
    )
    sensitive = candidates[(positive.sum() - missed) / positive.sum() >= target]
    specific = candidates[spared / (~positive).sum() >= target]
    return {
        "youden": round(youden_threshold(positive, probability), DECIMALS),
        "target_sensitivity": float(sensitive[-1]),
        "target_specificity": float(specific[0] if len(specific) else candidates[-1]),
        "one_half": 0.5,
    }


def youden_threshold(positive: np.ndarray, probability: np.ndarray) -> float:
    """The threshold of the highest sensitivity + specificity - 1 (Youden, 1950).

    positive: (N,) bool, probability: (N,) float of the positive class. It lies half-way between two
    observed probabilities; of equally good ones the nearest to 0.5 is taken.
    """
    false_positive, true_positive, scores = roc_curve(positive, probability, drop_intermediate=False)
    ordered = np.append(scores[1:], 0.0)  # scores fall; scores[0] is infinite and means "nobody"
    between = (np.minimum(scores, 1.0) + ordered) / 2
    gain = true_positive - false_positive
    best = between[np.isclose(gain, gain.max(), rtol=0, atol=1e-12)]
    return float(best[np.argmin(np.abs(best - 0.5))])
