"""Negative log-likelihood of probabilities, in NumPy."""

import numpy as np

SMALLEST = 1e-12  # stands for a probability of 0 in a logarithm


def nll(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood. probabilities: (N, classes), labels: (N,) int."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(of_truth, SMALLEST, 1)).mean())
