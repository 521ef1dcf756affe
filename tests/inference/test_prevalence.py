"""The prior that a training teaches, against networks whose optimum is known; and Bayes' rule by counting."""

import numpy as np
import pytest
import torch

from cxr.inference.calibration import Calibration
from cxr.inference.prevalence import class_prevalence, declared, shifted
from cxr.training.targets import classification_loss, make_targets
from tests.builders import refused, settings

LABELS = np.repeat([0, 1, 2], [10, 60, 30])
KEY = "calibrate.prevalence"
CLASSES = ["normal", "pneumonia", "tuberculosis"]
SUBCLASSES = ["normal"] * 10 + ["pneumonia_0"] * 20 + ["pneumonia_1"] * 40 + ["tuberculosis"] * 30


@pytest.mark.parametrize("strategy", ["none", "class_weights", "logit_adjustment", "decompose", "both"])
@pytest.mark.parametrize("weights", ["balanced", "inverse", [3.0, 1.0, 2.0, 0.5]])
def test_prior_is_what_a_network_without_input_learns(strategy, weights):
    """Its softmax at the least training loss, sub-classes summed, is the prior."""
    if isinstance(weights, list) and strategy != "both":
        weights = weights[:3]
    chosen = settings("imbalance", strategy=strategy, class_weights=weights)
    targets = make_targets(chosen, LABELS, CLASSES, SUBCLASSES)
    logits = torch.zeros(len(targets.outputs), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")
    labels, loss_weights = torch.from_numpy(targets.labels), torch.from_numpy(targets.weights).double()

    def closure():
        optimiser.zero_grad()
        offsets = torch.from_numpy(targets.offsets).double()
        loss = classification_loss(logits.expand(len(labels), -1), labels, loss_weights, offsets, 0.0, 0.0)
        loss.backward()
        return loss

    optimiser.step(closure)
    fine = logits.softmax(dim=0).detach().numpy()
    expected = np.bincount(targets.classes, fine, minlength=3)
    np.testing.assert_allclose(targets.prior, expected, atol=2e-4)


def test_sampler_teaches_what_it_draws():
    targets = make_targets(settings("imbalance", strategy="sampler"), LABELS, CLASSES, SUBCLASSES)
    np.testing.assert_allclose(targets.prior, 1 / 3)


def test_declared_prevalence_gives_the_share_that_is_found_there():
    """Images of two classes that overlap: where 20 % are ill, of those called p = x a share of x is."""
    generator = np.random.default_rng(0)
    prior, there = 0.7, 0.2

    def images(share: float) -> tuple[np.ndarray, np.ndarray]:
        ill = generator.random(400_000) < share
        return ill, generator.normal(np.where(ill, 1.0, -1.0), 1.5)

    def taught(x: np.ndarray) -> np.ndarray:
        odds = np.exp(2 * x / 1.5**2) * prior / (1 - prior)  # the true posterior at the prior
        return np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)

    ill, x = images(there)
    p = Calibration(1.0, None, [1 - prior, prior], [1 - there, there])(taught(x))[:, 1]
    for low, high in ((0.05, 0.15), (0.3, 0.4), (0.6, 0.7)):
        inside = (p > low) & (p < high)
        assert ill[inside].mean() == pytest.approx(p[inside].mean(), abs=0.01)


def test_prevalence_as_it_is_declared():
    train = class_prevalence(LABELS, 3)
    np.testing.assert_allclose(train, [0.1, 0.6, 0.3])
    np.testing.assert_allclose(declared("train", train, KEY), train)
    np.testing.assert_allclose(declared("uniform", train, KEY), 1 / 3)
    np.testing.assert_allclose(declared(0.15, train[:2], KEY), [0.85, 0.15])
    with refused("calibrate.prevalence is 0.15, one number for 3 classes; set it to uniform or train"):
        declared(0.15, train, KEY)


def test_shifted_is_what_a_calibration_does():
    p = np.random.default_rng(0).dirichlet([1, 1, 1], 50)
    prior, wanted = np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.3, 0.1])
    expected = Calibration(1.0, None, prior.tolist(), wanted.tolist())(p)
    np.testing.assert_allclose(shifted(p, prior, wanted), expected, atol=1e-9)
    np.testing.assert_allclose(shifted(shifted(p, prior, wanted), wanted, prior), p)
