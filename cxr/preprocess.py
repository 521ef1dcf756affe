"""The one way from stored images to a model's input, for training, evaluation, index and service alike."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cxr.data.histogram import count_levels, mean_and_std


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the training films' grey levels, on the scale 0 to 1."""

    mean: float
    std: float

    def __call__(self, grey: Tensor) -> Tensor:
        return (grey - self.mean) / self.std


def to_grey(images: Tensor) -> Tensor:
    """(N, H, W) uint8 to (N, 1, H, W) float32 in [0, 1]; augmentation works on this scale."""
    return images.unsqueeze(1).to(torch.float32) / 255


def fit_normalisation(images: np.ndarray) -> Normalisation:
    """images: (N, H, W) uint8."""
    mean, std = mean_and_std(count_levels(images))
    return Normalisation(round(mean / 255, 6), round(max(std / 255, 1e-3), 6))
