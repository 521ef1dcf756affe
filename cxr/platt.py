"""Platt scaling (1999): a slope and an intercept fitted on val. A counter-example, never shipped.

The intercept also learns how this val differs from other films; where val is drawn from the training films it
takes their mistakes for the truth, and is sure of it. With more than two classes, its matrix form (Guo et
al., 2017, https://arxiv.org/abs/1706.04599, section 4.2).
"""

import numpy as np
from sklearn.linear_model import LogisticRegression

from cxr.likelihood import SMALLEST

C = 1e6  # of scikit-learn: next to no penalty


def fit(probabilities: np.ndarray, labels: np.ndarray) -> LogisticRegression:
    """For `apply`. probabilities: (N, classes) float, labels: (N,) int."""
    return LogisticRegression(C=C, max_iter=10_000).fit(_logits(probabilities), labels)


def apply(model: LogisticRegression, probabilities: np.ndarray) -> np.ndarray:
    """(N, classes) float64, which refer to the classes' shares in the films of `fit`."""
    found: np.ndarray = model.predict_proba(_logits(probabilities))
    return found


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """(N, classes - 1): the log-odds of each class against the first."""
    logs = np.log(np.clip(probabilities, SMALLEST, 1))
    return logs[:, 1:] - logs[:, :1]
