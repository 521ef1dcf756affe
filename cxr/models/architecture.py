"""What a backbone is before and after its weights are chosen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from cxr.core.fetch import Setting


@dataclass(frozen=True)
class Input:
    """size: pixels a side. mean, std: one for each channel, grey levels from 0 to 1; None stands for those of
    the training images."""

    size: int
    channels: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class Fresh(NamedTuple):
    """base: images to features, with initial weights from PyTorch's global generator. left_out: the shapes of
    the tensors that weights files of the architecture have besides, the classification layer's."""

    base: nn.Module
    left_out: dict[str, torch.Size]


@dataclass(frozen=True)
class Architecture:
    """fresh: takes the pixels a side, on which the shapes of a few architectures depend.

    published: what the published weights take, None where there are none. pretrained: the base with these
    weights; raises `UserError`, in the name of the setting, if they are unavailable or do not fit.
    """

    fresh: Callable[[int], Fresh]
    channels: int
    published: Input | None = None
    pretrained: Callable[[Setting], nn.Module] | None = None


@dataclass(frozen=True)
class Backbone:
    """base: (N, input.channels, input.size, input.size) normalised float to (N, dimensions) features."""

    base: nn.Module
    dimensions: int
    input: Input


def without(model: nn.Module, cut: Callable[[nn.Module], object]) -> Fresh:
    """`model` after `cut` has taken layers off it."""
    whole = {key: tensor.shape for key, tensor in model.state_dict().items()}
    cut(model)
    kept = model.state_dict()
    return Fresh(model, {key: shape for key, shape in whole.items() if key not in kept})
