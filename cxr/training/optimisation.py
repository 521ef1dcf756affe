"""Optimisers, learning-rate schedules, and the moving average of the weights."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, lr_scheduler

from cxr.params import Train

MOMENTUM = 0.9  # of sgd
Tensors = tuple[Tensor, ...] | list[Tensor]
AVERAGING = 0.999  # largest decay of the moving average of the weights


def make_optimiser(parameters: Iterable[nn.Parameter], settings: Train) -> Optimizer:
    """adam: weight decay as part of the gradient, as published recipes use it; adamw: decoupled weight decay
    (Loshchilov & Hutter, 2019, https://arxiv.org/abs/1711.05101); sgd: with momentum 0.9."""
    options: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    match settings.optimiser:
        case "adamw":
            return AdamW(parameters, **options)
        case "adam":
            return Adam(parameters, **options)
        case "sgd":
            return SGD(parameters, momentum=MOMENTUM, **options)


class Schedule:
    """The learning rate of a phase. `after_step` is called after each batch, `after_epoch` after each epoch.

    one_cycle (Smith & Topin, 2018, https://arxiv.org/abs/1708.07120) changes it after each batch, the others
    after each epoch; plateau and step multiply it by `factor`, see `patience` in params.yaml.
    """

    def __init__(self, optimiser: Optimizer, settings: Train, steps: int) -> None:
        """steps: batches in an epoch."""
        self.optimiser = optimiser
        self.by_batch = settings.schedule == "one_cycle"
        self.by_loss = settings.schedule == "plateau"
        lr, epochs, factor, patience = settings.lr, settings.epochs, settings.factor, settings.patience
        self.inner: Any = {
            "one_cycle": lambda: lr_scheduler.OneCycleLR(optimiser, lr, total_steps=epochs * steps),
            "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimiser, epochs),
            "plateau": lambda: lr_scheduler.ReduceLROnPlateau(optimiser, factor=factor, patience=patience),
            "step": lambda: lr_scheduler.StepLR(optimiser, patience, factor),
            "none": lambda: lr_scheduler.ConstantLR(optimiser, factor=1),
        }[settings.schedule]()

    @property
    def lr(self) -> float:
        return float(self.optimiser.param_groups[0]["lr"])

    def after_step(self) -> None:
        if self.by_batch:
            self.inner.step()

    def after_epoch(self, val_nll: float) -> None:
        if self.by_loss:
            self.inner.step(val_nll)
        elif not self.by_batch:
            self.inner.step()

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.inner.load_state_dict(state)


def moving_average(network: nn.Module) -> torch.optim.swa_utils.AveragedModel:
    """Exponential moving average of weights and buffers. After n steps its decay is (1 + n) / (10 + n), at
    most 0.999 (a half-life of 700 steps): with a constant decay the average of a few hundred steps would be
    mostly initial weights. TensorFlow has the same ramp
    (https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage)."""
    return torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=_ramped, use_buffers=True)


@torch.no_grad()
def _ramped(averages: Tensors, current: Tensors, averaged: Tensor | int) -> None:
    decay = min(AVERAGING, (1 + int(averaged)) / (10 + int(averaged)))
    for average, value in zip(averages, current, strict=True):
        if average.is_floating_point():
            average.lerp_(value, 1 - decay)
        else:  # the number of batches that batch normalisation has seen
            average.copy_(value)
