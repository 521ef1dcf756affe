"""Decisions from probabilities, and their log loss, in NumPy alone: a service needs no more."""

import numpy as np

SMALLEST = 1e-12  # stands for a probability of 0 in a logarithm


def nll(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The log loss in nats: the mean negative logarithm of the true classes' probabilities.

    probabilities: (N, classes) float, 0 to 1; labels: (N,) int.
    """
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(of_truth, SMALLEST, 1)).mean())


def decide(probabilities: np.ndarray, threshold: float | None) -> np.ndarray:
    """(N,) class indices: the most probable class, or with a threshold whether class 1 reaches it."""
    if threshold is None:
        return probabilities.argmax(axis=1)
    return (probabilities[:, 1] >= threshold).astype(np.int64)
