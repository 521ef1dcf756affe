"""From stored images to a network's input, in the same way for training, evaluation, index and service."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from cxr.core.dataset import count_levels, mean_and_std

ZOOMS = (0.9, 1.0, 1.1)


Normalisation = Literal["train", "image", "local"]  # see `Preprocess.normalise`
FLAT = 0.02  # added to a standard deviation, so that an image without contrast stays one without noise
NEIGHBOURHOOD = 1 / 7  # standard deviation of the Gaussian of "local", as a fraction of the side


@dataclass(frozen=True)
class Preprocess:
    """size: pixels a side of a network's input. mean, std: for each channel (1 or 3), of grey levels in [0,
    1]. normalisation: see `normalise`. resized: pixels a side before the centre of that size is cropped; 0
    for no crop."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    normalisation: Normalisation = "train"
    resized: int = 0
    interpolation: str = "bilinear"

    def __call__(self, grey: Tensor) -> Tensor:
        """(N, 1, H, W) float32 in [0, 1] to (N, channels, size, size) normalised float32, channels-last."""
        return self.normalise(self.resize(grey)).contiguous(memory_format=torch.channels_last)

    def resize(self, grey: Tensor) -> Tensor:
        """(N, 1, H, W) to (N, 1, size, size), antialiased; linear in the grey levels."""
        side = self.resized or self.size
        if grey.shape[-2:] != (side, side):
            grey = interpolate(grey, [side, side], mode=self.interpolation, antialias=True)
        start = (side - self.size) // 2
        return grey[..., start : start + self.size, start : start + self.size]

    def normalise(self, grey: Tensor) -> Tensor:
        """(N, 1, size, size) grey levels in [0, 1] to (N, channels, size, size).

        train: by `mean` and `std`, the same for all images. image: each image by its own mean and standard
        deviation, which removes its brightness and contrast. local: each pixel by those of its neighbourhood,
        weighted by a Gaussian (local contrast normalisation: Jarrett et al., 2009,
        https://doi.org/10.1109/ICCV.2009.5459469).
        """
        if self.normalisation == "train":
            mean, std = (torch.tensor(v, device=grey.device).view(-1, 1, 1) for v in (self.mean, self.std))
            return (grey - mean) / std
        if self.normalisation == "image":
            centred = grey - grey.mean(dim=(2, 3), keepdim=True)
            deviation = centred.square().mean(dim=(2, 3), keepdim=True).sqrt()
        else:
            gaussian = _gaussian_rows(self.size, NEIGHBOURHOOD * self.size).to(grey.device)
            centred = grey - gaussian @ grey @ gaussian.T
            deviation = (gaussian @ centred.square() @ gaussian.T).sqrt()
        return (centred / (deviation + FLAT)).expand(-1, len(self.mean), -1, -1)


def _gaussian_rows(size: int, deviation: float) -> Tensor:
    """(size, size) float32: row i weights the pixels of a line for a Gaussian blur at i; each row sums to
    1, also at the border."""
    axis = torch.arange(size, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((axis - axis.unsqueeze(1)) / deviation).square())
    return weights / weights.sum(dim=1, keepdim=True)


def to_grey(images: Tensor) -> Tensor:
    """(N, H, W) uint8 to (N, 1, H, W) float32 in [0, 1], the scale of augmentation."""
    return images.unsqueeze(1).to(torch.float32) / 255


def augmented_copies(grey: Tensor, tta: str) -> list[Tensor]:
    """The copies of images over whose predictions test-time augmentation averages.

    grey: (N, 1, H, W) float32 in [0, 1]; so is each copy. tta: "none" (the images alone), "flip" (the images
    and their mirror images) or "flip_zoom" (these at the three magnifications `ZOOMS`).
    """
    zooms = ZOOMS if tta == "flip_zoom" else (1.0,)
    copies = [zoomed(grey, zoom) for zoom in zooms]
    return copies if tta == "none" else [flipped for copy in copies for flipped in (copy, copy.flip(-1))]


def zoomed(grey: Tensor, zoom: float) -> Tensor:
    if zoom == 1:
        return grey
    theta = torch.tensor([[1 / zoom, 0, 0], [0, 1 / zoom, 0]], device=grey.device).expand(len(grey), 2, 3)
    grid = affine_grid(theta, list(grey.shape), align_corners=False)
    return grid_sample(grey, grid, mode="bilinear", padding_mode="border", align_corners=False)


def fit_normalisation(images: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the grey levels of images, (N, H, W) uint8, on the scale [0, 1].

    The standard deviation is 0.001 or more.
    """
    mean, std = mean_and_std(count_levels(images))
    return round(mean / 255, 6), round(max(std / 255, 1e-3), 6)
