"""Optimisers and learning-rate schedules by name, one interface for those that step by batch or by epoch."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, lr_scheduler

from cxr.params import Finetune, Train

MOMENTUM = 0.9  # of sgd


def make_optimiser(parameters: Iterable[nn.Parameter], settings: Train | Finetune) -> Optimizer:
    """adam: decay as part of the gradient, as published recipes use it; adamw: decoupled
    (https://arxiv.org/abs/1711.05101); sgd: with momentum 0.9."""
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

    one_cycle (https://arxiv.org/abs/1708.07120) moves with the batches, the others with the epochs. `factor`
    and `patience` belong to plateau and step.
    """

    def __init__(
        self, name: str, optimiser: Optimizer, epochs: int, steps: int, factor: float, patience: int
    ) -> None:
        """steps: batches in an epoch."""
        self.optimiser = optimiser
        self.by_batch = name == "one_cycle"
        self.by_loss = name == "plateau"
        lr = optimiser.param_groups[0]["lr"]
        self.inner: Any = {
            "one_cycle": lambda: lr_scheduler.OneCycleLR(optimiser, lr, total_steps=epochs * steps),
            "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimiser, epochs),
            "plateau": lambda: lr_scheduler.ReduceLROnPlateau(optimiser, factor=factor, patience=patience),
            "step": lambda: lr_scheduler.StepLR(optimiser, patience, factor),
            "none": lambda: lr_scheduler.ConstantLR(optimiser, factor=1),
        }[name]()

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
    """Exponential moving average of weights and buffers, half-life 700 steps (decay 0.999)."""
    decay = torch.optim.swa_utils.get_ema_multi_avg_fn(0.999)
    return torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=decay, use_buffers=True)
