"""Learning-rate sequences on made-up losses against their formulas; optimisers against PyTorch's own."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from cxr.training.optimisation import Schedule, make_optimiser, moving_average
from tests.builders import settings

LR = 0.01
STEPS = 5  # batches in an epoch


def epoch_rates(name, losses, *, epochs=None, factor=0.1, patience=2, stop_at=None):
    """The rate of the last batch of each epoch. stop_at: the epoch before which states are saved and
    loaded."""
    epochs = epochs or len(losses)
    options = {"schedule": name, "lr": LR, "epochs": epochs, "factor": factor, "patience": patience}
    chosen = settings("train", **options)

    def build():
        optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
        return optimiser, Schedule(optimiser, chosen, STEPS)

    optimiser, schedule = build()
    rates = []
    for epoch, loss in enumerate(losses):
        if epoch == stop_at:
            saved = optimiser.state_dict(), schedule.state_dict()
            optimiser, schedule = build()
            optimiser.load_state_dict(saved[0])
            schedule.load_state_dict(saved[1])
        for _ in range(STEPS):
            optimiser.step()
            rates.append(schedule.lr)
            schedule.after_step()
        schedule.after_epoch(loss)
    return rates[STEPS - 1 :: STEPS]


def test_plateau_waits_for_patience_epochs_without_a_lower_loss():
    #         best  best  1     2     3: lower   best  1    2    3: lower
    losses = [1.00, 0.50, 0.60, 0.50, 0.70, 0.40, 0.9, 0.9, 0.9, 0.9]
    expected = [LR] * 5 + [LR / 10] * 4 + [LR / 100]
    np.testing.assert_allclose(epoch_rates("plateau", losses), expected, rtol=1e-9)
    np.testing.assert_allclose(epoch_rates("plateau", losses, factor=0.5)[-1], LR / 4, rtol=1e-9)


def test_step_falls_every_patience_epochs():
    np.testing.assert_allclose(
        epoch_rates("step", [1.0] * 7, factor=0.5, patience=3), [LR] * 3 + [LR / 2] * 3 + [LR / 4], rtol=1e-9
    )


def test_cosine_is_half_a_cosine():
    expected = [LR * (1 + math.cos(math.pi * epoch / 8)) / 2 for epoch in range(8)]
    np.testing.assert_allclose(epoch_rates("cosine", [1.0] * 8), expected, rtol=1e-9)


def test_one_cycle_rises_and_falls_by_the_batch():
    total = 10 * STEPS
    peak = 0.3 * total - 1

    def rate(step):
        """From a 25th up to the peak, down to a 250,000th, each along half a cosine."""
        start, end, part = (LR / 25, LR, step / peak) if step <= peak else (LR, LR / 25 / 1e4, None)
        part = (step - peak) / (total - 1 - peak) if part is None else part
        return end + (start - end) / 2 * (1 + math.cos(math.pi * part))

    expected = [rate((epoch + 1) * STEPS - 1) for epoch in range(10)]
    np.testing.assert_allclose(epoch_rates("one_cycle", [1.0] * 10), expected, rtol=1e-6)


def test_none_is_constant():
    assert epoch_rates("none", [1.0, 2.0, 3.0]) == [LR] * 3


@pytest.mark.parametrize("name", ["plateau", "step", "cosine", "one_cycle", "none"])
@pytest.mark.parametrize("stop_at", [1, 4])
def test_schedule_continues_from_its_state(name, stop_at):
    losses = [1.0, 0.9, 0.95, 0.93, 0.92, 0.91, 0.8, 0.85]
    assert epoch_rates(name, losses, stop_at=stop_at) == epoch_rates(name, losses)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("adam", lambda weights: torch.optim.Adam(weights, lr=0.1, weight_decay=0.3)),
        ("adamw", lambda weights: torch.optim.AdamW(weights, lr=0.1, weight_decay=0.3)),
        ("sgd", lambda weights: torch.optim.SGD(weights, lr=0.1, weight_decay=0.3, momentum=0.9)),
    ],
)
def test_optimiser_is_pytorchs(name, reference):
    chosen = settings("train", optimiser=name, lr=0.1, weight_decay=0.3)

    def steps(make):
        weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        optimiser = make([weight])
        for _ in range(3):
            optimiser.zero_grad()
            (weight**3).sum().backward()
            optimiser.step()
        return weight.detach()

    result = steps(lambda weights: make_optimiser(weights, chosen))
    assert torch.equal(result, steps(reference))
    others = [chosen.replace(optimiser=other) for other in ("adam", "adamw", "sgd") if other != name]
    for other in others:
        assert not torch.equal(result, steps(lambda weights, other=other: make_optimiser(weights, other)))


def test_moving_average_is_its_recursion():
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    average = moving_average(network)
    expected = None
    for step in range(40):
        with torch.no_grad():
            network[0].weight.fill_(float(step))
            network[1].running_mean.fill_(10.0 * step)
        average.update_parameters(network)
        decay = min(0.999, (1 + step) / (10 + step))
        expected = float(step) if expected is None else decay * expected + (1 - decay) * step
    assert float(average.module[0].weight.detach()) == pytest.approx(expected)
    assert float(average.module[1].running_mean) == pytest.approx(10 * expected)


def test_moving_average_forgets_the_initial_weights_within_a_short_training():
    network = nn.Linear(1, 1, bias=False)
    average = moving_average(network)
    for step in range(200):
        with torch.no_grad():
            network.weight.fill_(float(step > 0))  # 0 at first, then 1
        average.update_parameters(network)
    assert float(average.module.weight.detach()) > 0.99
