"""Multinomial logistic regression with an L2 penalty that is chosen by cross-validation on the training
images: the head of a linear probe (Alain & Bengio, 2016, https://arxiv.org/abs/1610.01644).
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from threadpoolctl import threadpool_limits

from cxr.core.errors import UserError

FOLDS = 5
# scikit-learn's C, the inverse of the penalty, from the strongest penalty to the weakest.
STRENGTHS = tuple(float(10**exponent) for exponent in np.arange(-5, 1.5, 0.5))
ITERATIONS = 1000
SMALLEST = 1e-12


@dataclass(frozen=True)
class LinearHead:
    """weight: (K, d) float32, bias: (K,) float32, of features as they are. strength: the chosen C. losses: of
    each of `STRENGTHS`, the mean log loss in nats of the images outside the training part of a fold."""

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    losses: tuple[float, ...]


def fit_head(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    patients: np.ndarray | None,
    outputs: list[str],
    seed: int,
) -> LinearHead:
    """The head with the penalty that has the smallest loss in cross-validation, fitted to all images.

    features: (n, d) float. labels: (n,) int, of `outputs`. weights: (n,) float, of each image in the loss.
    patients: (n,) int, whose images are kept in one fold; None if unknown. The penalty is on features that
    are standardised by their mean and standard deviation. Same arguments, same bytes. Raises `UserError` if
    an output has too few images or patients for the folds.
    """
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    deviation = np.where(deviation > 0, deviation, 1)
    standardised = (features - mean) / deviation
    weights = weights / weights.mean()
    with threadpool_limits(1):  # more threads sum in another order
        folds = _folds(labels, patients, outputs, seed)
        losses = np.mean([_losses(standardised, labels, weights, fold) for fold in folds], axis=0)
        strength = STRENGTHS[int(losses.argmin())]
        model = _regression(strength).fit(standardised, labels, weights)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(outputs) == 2:  # one row, of the second output against the first
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    weight = coefficients / deviation
    bias = intercepts - weight @ mean
    return LinearHead(
        weight.astype(np.float32), bias.astype(np.float32), strength, tuple(float(loss) for loss in losses)
    )


def _folds(
    labels: np.ndarray, patients: np.ndarray | None, outputs: list[str], seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    for output, name in enumerate(outputs):
        of_output = np.flatnonzero(labels == output)
        count = len(of_output) if patients is None else len(np.unique(patients[of_output]))
        if count < FOLDS:
            unit = "training images" if patients is None else "patients in train"
            raise UserError(
                f"{name} has {count} {unit}, too few for the {FOLDS} folds that choose the penalty of "
                f"model.backbone encoder; it takes {FOLDS} or more"
            )
    splitter = StratifiedKFold if patients is None else StratifiedGroupKFold
    return list(splitter(FOLDS, shuffle=True, random_state=seed).split(labels, labels, patients))


def _losses(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray, fold: tuple[np.ndarray, np.ndarray]
) -> list[float]:
    """The weighted log loss on the second part of `fold`, for each of `STRENGTHS` fitted to the first."""
    fitted, held_out = fold
    model = _regression(STRENGTHS[0])
    model.warm_start = True  # from the solution of the penalty before
    losses = []
    for strength in STRENGTHS:
        model.C = strength
        model.fit(features[fitted], labels[fitted], weights[fitted])
        probabilities = model.predict_proba(features[held_out])
        of_label = probabilities[np.arange(len(held_out)), labels[held_out]]
        losses.append(float(np.average(-np.log(of_label.clip(SMALLEST)), weights=weights[held_out])))
    return losses


def _regression(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=ITERATIONS, tol=1e-6)
