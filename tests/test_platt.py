"""Platt scaling where its answer is known."""

import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from cxr import platt
from cxr.likelihood import nll


def both(p: np.ndarray) -> np.ndarray:
    return np.stack([1 - p, p], axis=1)


def test_slope_and_intercept_that_labels_were_drawn_with():
    generator = np.random.default_rng(0)
    said = generator.normal(0, 1.5, 200_000)
    labels = (generator.random(len(said)) < expit(1.8 * said - 0.7)).astype(int)
    model = platt.fit(both(expit(said)), labels)
    assert model.coef_[0, 0] == pytest.approx(1.8, abs=0.03)
    assert model.intercept_[0] == pytest.approx(-0.7, abs=0.02)
    found = platt.apply(model, both(expit(said)))
    np.testing.assert_allclose(logit(found[:, 1]), model.coef_[0, 0] * said + model.intercept_[0], atol=1e-6)


def test_four_films_have_an_answer_in_closed_form():
    """Two probabilities and two parameters: each probability becomes the share that was found."""
    p = np.array([0.2] * 10 + [0.8] * 10)
    labels = np.array([1] * 4 + [0] * 6 + [1] * 7 + [0] * 3)
    found = platt.apply(platt.fit(both(p), labels), both(p))[:, 1]
    np.testing.assert_allclose(found, [0.4] * 10 + [0.7] * 10, atol=1e-3)


def test_nothing_of_its_kind_is_likelier():
    generator = np.random.default_rng(1)
    p = expit(generator.normal(0, 2, 300))
    labels = (generator.random(300) < p**2).astype(int)
    model = platt.fit(both(p), labels)
    best = nll(platt.apply(model, both(p)), labels)
    for slope in model.coef_[0, 0] + np.array([-0.1, 0, 0.1]):
        for intercept in model.intercept_[0] + np.array([-0.1, 0, 0.1]):
            assert nll(both(expit(slope * logit(p) + intercept)), labels) >= best - 1e-6


def test_three_classes():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(50_000, 3))
    true = softmax(1.5 * logits + [0.0, 0.5, -0.5], axis=1)
    labels = (true.cumsum(axis=1) < generator.random((len(logits), 1))).sum(axis=1)
    p = softmax(logits, axis=1)
    np.testing.assert_allclose(platt.apply(platt.fit(p, labels), p), true, atol=0.02)


def test_separate_classes_and_certainty_stay_finite():
    p = np.array([0.0, 0.1, 0.9, 1.0])
    found = platt.apply(platt.fit(both(p), np.array([0, 0, 1, 1])), both(p))
    assert np.isfinite(nll(found, np.array([0, 0, 1, 1])))
