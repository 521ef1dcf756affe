"""Decisions at the threshold itself, and the log loss against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from cxr.core.probabilities import decide, nll


def test_a_probability_at_the_threshold_is_positive():
    p = np.array([0.2999999, 0.3, 0.3000001, 0.9])
    probabilities = np.stack([1 - p, p], axis=1)
    assert decide(probabilities, 0.3).tolist() == [0, 1, 1, 1]
    assert decide(probabilities, None).tolist() == [0, 0, 0, 1]
    assert decide(np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]), None).tolist() == [1, 0]


def test_log_loss_is_scikit_learns():
    generator = np.random.default_rng(0)
    probabilities, labels = generator.dirichlet([0.3] * 3, 100), generator.integers(0, 3, 100)
    assert nll(probabilities, labels) == pytest.approx(log_loss(labels, probabilities))
    assert nll(np.array([[0.0, 1.0]]), np.array([0])) == pytest.approx(-np.log(1e-12))
