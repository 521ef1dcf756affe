"""An architecture, and the backbone it becomes with weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from cxr.core.fetch import Setting


@dataclass(frozen=True)
class Input:
    """The input of a backbone. size: pixels a side. mean, std: to normalise grey levels in [0, 1], one for
    each channel; None: those of the training images."""

    size: int
    channels: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class Fresh(NamedTuple):
    """base: images to features, with initial weights from PyTorch's global generator. left_out: the shapes of
    the classification layer's tensors, which weights files of the architecture have, but the base has not."""

    base: nn.Module
    left_out: dict[str, torch.Size]


@dataclass(frozen=True)
class Architecture:
    """fresh: builds it for an input of so many pixels a side, on which the shapes of a few architectures
    depend.

    published: the input of the published weights, None where there are none. fetch: downloads these weights
    unless they are here; raises `UserError`, which names the setting, if they are unavailable. pretrained:
    builds the base with them; raises `UserError` if they are unavailable or do not fit.
    """

    fresh: Callable[[int], Fresh]
    channels: int
    published: Input | None = None
    fetch: Callable[[Setting], Path] | None = None
    pretrained: Callable[[Setting], nn.Module] | None = None


@dataclass(frozen=True)
class Backbone:
    """base: (N, input.channels, input.size, input.size) normalised float to (N, dimensions) features."""

    base: nn.Module
    dimensions: int
    input: Input


def without(model: nn.Module, cut: Callable[[nn.Module], object]) -> Fresh:
    """`model` after `cut` has removed layers from it."""
    whole = {key: tensor.shape for key, tensor in model.state_dict().items()}
    cut(model)
    kept = model.state_dict()
    return Fresh(model, {key: shape for key, shape in whole.items() if key not in kept})
