"""Augmentation of a whole batch in a few tensor operations, with random parameters of its own for every
image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cxr.params import Augment
from cxr.training.degradation import blurred, compressed, noisy


def augment(grey: Tensor, settings: Augment, generator: torch.Generator) -> Tensor:
    """A randomly augmented copy of each image. grey: (N, 1, H, W) float32 in [0, 1]; so is the result.

    generator: on the device of `grey`; the only source of randomness.
    """
    grey = _affine(grey, settings, generator)
    if settings.blur:
        grey = blurred(grey, _uniform(grey, generator, 0, settings.blur))
    grey = _intensity(grey, settings, generator)
    if settings.noise:
        grey = noisy(grey, _uniform(grey, generator, 0, settings.noise), generator)
    if settings.jpeg < 100:
        grey = compressed(grey.clamp(0, 1), _uniform(grey, generator, settings.jpeg, 100))
    if settings.erasing:
        grey = _erase(grey, settings.erasing, generator)
    return grey.clamp(0, 1)


def _uniform(grey: Tensor, generator: torch.Generator, low: float, high: float) -> Tensor:
    """One uniform random number for each image, (N, 1, 1, 1) float32."""
    return torch.empty(len(grey), 1, 1, 1, device=grey.device).uniform_(low, high, generator=generator)


def _affine(grey: Tensor, settings: Augment, generator: torch.Generator) -> Tensor:
    """Crop, rotation, scale, shift and mirror image in one resampling."""

    def draw(half_width: float) -> Tensor:
        return _uniform(grey, generator, -half_width, half_width).flatten()

    angle = draw(math.radians(settings.rotation))
    zoom = 1 / (1 + draw(settings.scale))
    mirror = torch.where(_uniform(grey, generator, 0, 1).flatten() < settings.flip, -1.0, 1.0)
    # The grid runs from -1 to 1, so a shift by a fraction of the side is twice that fraction.
    right, down = draw(2 * settings.shift), draw(2 * settings.shift)
    if settings.crop < 1:
        side = _uniform(grey, generator, settings.crop, 1).flatten().sqrt()
        zoom = zoom * side
        right, down = right + draw(1) * (1 - side), down + draw(1) * (1 - side)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    theta = torch.stack([mirror * cos, -sin, right, mirror * sin, cos, down], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(grey.shape), align_corners=False)
    return F.grid_sample(grey, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _intensity(grey: Tensor, settings: Augment, generator: torch.Generator) -> Tensor:
    gamma = _uniform(grey, generator, -settings.gamma, settings.gamma).exp()
    contrast = 1 + _uniform(grey, generator, -settings.contrast, settings.contrast)
    brightness = _uniform(grey, generator, -settings.brightness, settings.brightness)
    grey = grey.clamp(min=1e-6) ** gamma
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    return (grey - mean) * contrast + mean + brightness


def _erase(grey: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    """Random erasing (Zhong et al., 2020, https://arxiv.org/abs/1708.04896) of one square in each image,
    filled with the image's mean."""
    height, width = grey.shape[-2:]
    half = _uniform(grey, generator, 0, largest / 2)
    y, x = _uniform(grey, generator, 0, 1), _uniform(grey, generator, 0, 1)
    rows = (torch.arange(height, device=grey.device).view(1, 1, -1, 1) + 0.5) / height
    columns = (torch.arange(width, device=grey.device).view(1, 1, 1, -1) + 0.5) / width
    inside = ((rows - y).abs() < half) & ((columns - x).abs() < half)
    return torch.where(inside, grey.mean(dim=(1, 2, 3), keepdim=True), grey)
