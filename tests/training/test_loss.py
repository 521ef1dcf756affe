"""The loss against PyTorch's own losses and against its formulas written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cxr.models.network import binary_to_two_logits
from cxr.training.targets import classification_loss

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(40, 3, generator=GENERATOR)
LABELS = torch.arange(40) % 3
WEIGHTS = torch.tensor([0.5, 1.0, 4.0])
NO_OFFSETS = torch.zeros(3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [torch.ones(2), torch.tensor([1.939, 0.6737])], ids=["plain", "weighted"])
def test_one_logit_is_binary_cross_entropy(weights, smoothing):
    logit, labels = 3 * torch.randn(30, 1, generator=GENERATOR), torch.arange(30) % 2
    target = labels * (1 - smoothing) + smoothing / 2
    # PyTorch weights each of the two terms of a smoothed target by its own class.
    positive, negative = -F.logsigmoid(logit[:, 0]), -F.logsigmoid(-logit[:, 0])
    losses = weights[1] * target * positive + weights[0] * (1 - target) * negative
    loss = classification_loss(logit, labels, weights, torch.zeros(2), 0.0, smoothing)
    torch.testing.assert_close(loss, losses.sum() / weights[labels].sum())
    if torch.equal(weights, torch.ones(2)):
        torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logit[:, 0], target))


def test_one_logit_is_the_sigmoid():
    logit = torch.linspace(-5, 5, 11).unsqueeze(1)
    p = binary_to_two_logits(logit).softmax(dim=-1)
    torch.testing.assert_close(p[:, 1:], logit.sigmoid())
    assert binary_to_two_logits(LOGITS) is LOGITS


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_its_formula(gamma):
    p = np.exp(LOGITS.double().numpy())
    p = (p / p.sum(axis=1, keepdims=True))[np.arange(40), LABELS]
    weights = WEIGHTS.double().numpy()[LABELS]
    expected = ((1 - p) ** gamma * -np.log(p) * weights).sum() / weights.sum()
    loss = classification_loss(LOGITS, LABELS, WEIGHTS, NO_OFFSETS, gamma, 0.0)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_focal_loss_down_weights_easy_examples():
    sure, unsure = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.2, 0.0]])
    label, ones, none = torch.tensor([0]), torch.ones(2), torch.zeros(2)

    def relative_loss(logits: torch.Tensor) -> float:
        focal = classification_loss(logits, label, ones, none, 2.0, 0.0)
        return float(focal / classification_loss(logits, label, ones, none, 0.0, 0.0))

    assert relative_loss(sure) < 0.001 < 0.1 < relative_loss(unsure)


def test_adjusted_logits_learn_balanced_scores():
    """With the log prior added in the loss, a network without input learns equal probabilities."""
    labels = torch.tensor([0] * 10 + [1] * 90)
    prior = torch.tensor([0.1, 0.9])
    for offsets, expected in ((prior.log(), [0.5, 0.5]), (torch.zeros(2), [0.1, 0.9])):
        logits = torch.zeros(2, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [logits], max_iter=100, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
        )

        def closure(logits=logits, offsets=offsets, optimiser=optimiser):
            optimiser.zero_grad()
            loss = classification_loss(logits.expand(100, 2), labels, torch.ones(2), offsets, 0.0, 0.0)
            loss.backward()
            return loss

        optimiser.step(closure)
        np.testing.assert_allclose(logits.softmax(dim=0).detach().numpy(), expected, atol=1e-3)
