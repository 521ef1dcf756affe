"""Decisions from probabilities, and their log loss; needs only NumPy, so that the service can use it."""

import numpy as np

SMALLEST = 1e-12  # replaces smaller probabilities in a logarithm


def nll(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The log loss in nats: the mean negative logarithm of the true classes' probabilities.

    probabilities: (N, classes) float in [0, 1]. labels: (N,) int.
    """
    true_class = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(true_class, SMALLEST, 1)).mean())


def decide(probabilities: np.ndarray, threshold: float | None) -> np.ndarray:
    """(N,) int64 class indices: the most probable class, or with a threshold class 1 where its probability
    reaches it, else class 0. probabilities: (N, classes) float in [0, 1]."""
    if threshold is None:
        return probabilities.argmax(axis=1)
    return (probabilities[:, 1] >= threshold).astype(np.int64)
