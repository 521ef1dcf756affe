"""Platt scaling (1999), a slope and an intercept fitted on val: compared with temperature scaling and with no
calibration, never released.

The intercept also fits how this val differs from other images; where val is drawn from the same images as
train, it does so with unwarranted confidence. With more than two classes, its matrix form (Guo et al., 2017,
https://arxiv.org/abs/1706.04599, section 4.2).
"""

import numpy as np
from sklearn.linear_model import LogisticRegression

from cxr.core.probabilities import SMALLEST
from cxr.inference.calibration import Calibration
from cxr.inference.predictions import Predictions
from cxr.inference.prevalence import class_prevalence, shifted

C = 1e6  # of scikit-learn: practically no penalty


def fit_platt(probabilities: np.ndarray, labels: np.ndarray) -> LogisticRegression:
    """For `apply_platt`. probabilities: (N, classes) float, labels: (N,) int."""
    return LogisticRegression(C=C, max_iter=10_000).fit(_logits(probabilities), labels)


def apply_platt(model: LogisticRegression, probabilities: np.ndarray) -> np.ndarray:
    """(N, classes) float64, which refer to the class prevalence in the images of `fit_platt`."""
    scaled: np.ndarray = model.predict_proba(_logits(probabilities))
    return scaled


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """(N, classes - 1): the log-odds of each class against the first."""
    logs = np.log(np.clip(probabilities, SMALLEST, 1))
    return logs[:, 1:] - logs[:, :1]


def calibration_methods(
    published: Predictions, released: Calibration, prevalence: np.ndarray
) -> dict[str, np.ndarray]:
    """(N, classes) float64 probabilities of the ensemble for all images of `published`, val and test.

    before: at temperature 1. temperature: as released. platt: Platt scaling fitted on val. All refer to
    `prevalence`, (classes,) float64, as the released ones do: the class prior of training is removed from
    `before`, too, and `platt` is shifted from the class prevalence of val.
    """
    raw = released.undo(published.ensemble)
    val = published.splits == "val"
    labels = published.labels[val]
    fitted = apply_platt(fit_platt(raw[val], labels), raw)
    return {
        "before": Calibration(1.0, None, released.prior, released.prevalence)(raw),
        "temperature": published.ensemble,
        "platt": shifted(fitted, class_prevalence(labels, len(prevalence)), prevalence),
    }
