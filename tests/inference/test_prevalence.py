"""The prior that a network learns, against a known optimum; and Bayes' rule, against observed frequencies."""

import numpy as np
import pytest
import torch

from cxr.inference.calibration import Calibration, fit_temperature
from cxr.inference.prevalence import case_weights, class_prevalence, declared, shifted
from cxr.training.targets import Subclasses, classification_loss, make_targets
from tests.builders import refused, settings

LABELS = np.repeat([0, 1, 2], [10, 60, 30])
KEY = "calibrate.prevalence"
CLASSES = ["normal", "pneumonia", "tuberculosis"]
SUBCLASSES = ["normal"] * 10 + ["pneumonia_0"] * 20 + ["pneumonia_1"] * 40 + ["tuberculosis"] * 30


@pytest.mark.parametrize("strategy", ["none", "class_weights", "logit_adjustment", "decompose", "both"])
@pytest.mark.parametrize("weights", ["balanced", "inverse", [3.0, 1.0, 2.0, 0.5]])
def test_prior_is_what_a_network_without_input_learns(strategy, weights):
    """Its softmax at the minimum of the training loss, summed over sub-classes, is the prior."""
    if isinstance(weights, list) and strategy != "both":
        weights = weights[:3]
    chosen = settings("imbalance", strategy=strategy, class_weights=weights)
    targets = make_targets(chosen, LABELS, CLASSES, Subclasses.named(SUBCLASSES))
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


def test_prior_of_the_sampler_is_uniform():
    targets = make_targets(
        settings("imbalance", strategy="sampler"), LABELS, CLASSES, Subclasses.named(SUBCLASSES)
    )
    np.testing.assert_allclose(targets.prior, 1 / 3)


def test_probabilities_at_the_stated_prevalence_are_observed_frequencies():
    """Two overlapping classes at a prevalence of 20 %: of images with p = x a proportion of x is diseased."""
    generator = np.random.default_rng(0)
    prior, prevalence = 0.7, 0.2
    diseased = generator.random(400_000) < prevalence
    x = generator.normal(np.where(diseased, 1.0, -1.0), 1.5)

    def posterior(x: np.ndarray) -> np.ndarray:
        odds = np.exp(2 * x / 1.5**2) * prior / (1 - prior)  # the true posterior at the prior
        return np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)

    calibrate = Calibration(1.0, None, [1 - prior, prior], [1 - prevalence, prevalence])
    p = calibrate(posterior(x))[:, 1]
    for low, high in ((0.05, 0.15), (0.3, 0.4), (0.6, 0.7)):
        inside = (p > low) & (p < high)
        assert diseased[inside].mean() == pytest.approx(p[inside].mean(), abs=0.01)


def test_temperature_is_fitted_at_the_prevalence_of_the_images():
    """Overconfident by a factor of two on the logits, and of a training with another prevalence."""
    generator = np.random.default_rng(0)
    prior, prevalence = [0.1, 0.9], [0.8, 0.2]
    diseased = generator.random(100_000) < prevalence[1]
    odds = np.exp(2 * generator.normal(np.where(diseased, 1.0, -1.0), 1.0)) * prior[1] / prior[0]
    true = np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)
    raw = Calibration(0.5, None)(true)
    labels = diseased.astype(int)
    assert fit_temperature(raw, labels, prior, prevalence) == pytest.approx(2, abs=0.05)
    assert abs(fit_temperature(raw, labels) - 2) > 0.5


def test_weighted_images_have_the_prevalence():
    wanted = np.array([0.5, 0.2, 0.3])
    weights = case_weights(LABELS, wanted)
    assert weights.sum() == pytest.approx(len(LABELS))
    np.testing.assert_allclose(np.bincount(LABELS, weights) / weights.sum(), wanted)
    assert len(set(weights.round(9))) == 3  # all images of a class have the same


def test_prevalence_as_params_state_it():
    train = class_prevalence(LABELS, 3)
    np.testing.assert_allclose(train, [0.1, 0.6, 0.3])
    np.testing.assert_allclose(declared("train", train, KEY), train)
    np.testing.assert_allclose(declared("uniform", train, KEY), 1 / 3)
    np.testing.assert_allclose(declared(0.15, train[:2], KEY), [0.85, 0.15])
    with refused("calibrate.prevalence is 0.15, one number for 3 classes; set it to uniform or train"):
        declared(0.15, train, KEY)


def test_shifted_equals_a_calibration():
    p = np.random.default_rng(0).dirichlet([1, 1, 1], 50)
    prior, wanted = np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.3, 0.1])
    expected = Calibration(1.0, None, prior.tolist(), wanted.tolist())(p)
    np.testing.assert_allclose(shifted(p, prior, wanted), expected, atol=1e-9)
    np.testing.assert_allclose(shifted(shifted(p, prior, wanted), wanted, prior), p)
