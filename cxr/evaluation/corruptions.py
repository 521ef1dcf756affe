"""The corruptions of MedMNIST-C for PneumoniaMNIST: 13 kinds, each at five severities.

Di Salvo et al., 2024, https://arxiv.org/abs/2406.17536. Kinds and parameters are the published ones
(https://github.com/francescodisalvo05/medmnistc-api, `CORRUPTIONS_DS["pneumoniamnist"]`); that list has a
sixth kernel for gaussian_blur, which its five severities never reach. Two things differ: the random numbers
of the noise, and that grey levels are rounded where the original truncates them, at most one level of 255.

Image sizes: the parameters were published for 224 pixels a side and are taken unchanged for every size.
Noise, blur and JPEG act on stored pixels, whatever one of them covers: at 28 pixels a blur of as many pixels
covers eight times as much of the chest as at 224, and no resizing averages the noise away. Pixelate keeps a
fraction of the side, rounded down (28 pixels become 22, 19, 16, 14 and 11, of which 14 changes images less
than 16, since each is the mean of two whole ones); brightness, contrast and gamma do not depend on the size.
So results for two sizes compare images as they are stored, not the same physical degradation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from cxr.params import Augment

# (1 + kinds x severities, N, classes) float32: the ensemble's probabilities of the N test radiographs before
# calibration, as they are and then under each kind of `KINDS` at each severity. Written by stage corrupt.
CORRUPTED = Path("data/corrupted.npy")
SEVERITIES = (1, 2, 3, 4, 5)
OFF = {"jpeg": 100}  # the value of an augmentation that is off, where it is not 0
BLOCK = 256  # images at a time, so that memory stays bounded for large ones


def corrupt(images: np.ndarray, kind: str, severity: int) -> np.ndarray:
    """The images after the corruption `kind`, a key of `KINDS`, at `severity`, 1 to 5.

    images: (N, H, W) uint8, not modified. Returns a new (N, H, W) uint8 array. The same images always get the
    same noise: it is drawn image after image from a generator that kind and severity seed.
    """
    corruption = KINDS[kind]
    level = corruption.levels[severity - 1]
    generator = np.random.default_rng([*kind.encode(), severity])
    result = np.empty_like(images)
    for start in range(0, len(images), BLOCK):
        grey = np.asarray(images[start : start + BLOCK], np.float32) / 255
        corrupted = corruption.change(grey, level, generator)
        result[start : start + BLOCK] = _to_bytes(corrupted)
    return result


def overlap(kind: str, augment: Augment) -> str | None:
    """The training augmentation that varies the same property of an image as the corruption `kind`, such as
    "augment.gamma 0.2"; None if it is off or there is none."""
    name = KINDS[kind].augmentation
    if not name or getattr(augment, name) == OFF.get(name, 0):
        return None
    return f"augment.{name} {getattr(augment, name):g}"


def _to_bytes(grey: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)


# Each of these takes (n, H, W) float32 in [0, 1], a level and a generator, and may leave that range.


def _gaussian_noise(grey: np.ndarray, level: float, generator: np.random.Generator) -> np.ndarray:
    """level: standard deviation."""
    return grey + level * generator.standard_normal(grey.shape, np.float32)


def _speckle_noise(grey: np.ndarray, level: float, generator: np.random.Generator) -> np.ndarray:
    """level: standard deviation as a fraction of the grey level."""
    return grey + grey * level * generator.standard_normal(grey.shape, np.float32)


def _shot_noise(grey: np.ndarray, level: float, generator: np.random.Generator) -> np.ndarray:
    """level: photons that a white pixel counts."""
    return generator.poisson(grey * level) / level


def _impulse_noise(grey: np.ndarray, level: float, generator: np.random.Generator) -> np.ndarray:
    """level: fraction of the pixels that turn black or white."""
    draw = generator.random(grey.shape, np.float32)
    return np.where(draw < level / 2, 0, np.where(draw < level, 1, grey))


def _gaussian_blur(grey: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    """level: side of the kernel in pixels, from which torchvision derives the standard deviation."""
    return F.gaussian_blur(torch.from_numpy(grey).unsqueeze(1), [int(level)] * 2).squeeze(1).numpy()


def _jpeg_compression(grey: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    """level: quality."""
    images = []
    for image in _to_bytes(grey):
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=int(level))
        images.append(np.asarray(Image.open(file)))
    return np.stack(images).astype(np.float32) / 255


def _pixelate(grey: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    """level: fraction of the side that remains."""
    rows, columns = (_coarse(side, int(side * level)) for side in grey.shape[1:])
    return rows @ grey @ columns.T


def _coarse(side: int, fewer: int) -> np.ndarray:
    """(side, side) float32: the matrix of Pillow's box filter from `side` pixels to `fewer` and back; as a
    linear map it is what the filter makes of the identity."""
    matrix = Image.fromarray(np.eye(side, dtype=np.float32))
    for height in (fewer, side):
        matrix = matrix.resize((side, height), Image.Resampling.BOX)
    return np.asarray(matrix)


def _brightness(grey: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    """level: factor."""
    return grey * level


def _contrast(grey: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    """level: factor around the image's own mean."""
    mean = grey.mean(axis=(1, 2), keepdims=True)
    return mean + (grey - mean) * level


def _gamma(grey: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    """level: exponent; above 1 darkens."""
    return grey**level


@dataclass(frozen=True)
class Kind:
    """levels: one for each severity. augmentation: the key of `augment` that varies the same property."""

    change: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    levels: tuple[float, float, float, float, float]
    augmentation: Literal["noise", "brightness", "contrast", "gamma", "blur", "jpeg"] | None


KINDS = {
    "gaussian_noise": Kind(_gaussian_noise, (0.04, 0.05, 0.06, 0.07, 0.08), "noise"),
    "speckle_noise": Kind(_speckle_noise, (0.05, 0.07, 0.10, 0.15, 0.20), "noise"),
    "shot_noise": Kind(_shot_noise, (300, 200, 150, 100, 80), "noise"),
    "impulse_noise": Kind(_impulse_noise, (0.005, 0.01, 0.013, 0.017, 0.02), None),
    "gaussian_blur": Kind(_gaussian_blur, (3, 5, 7, 9, 11), "blur"),
    "jpeg_compression": Kind(_jpeg_compression, (50, 30, 15, 10, 7), "jpeg"),
    "pixelate": Kind(_pixelate, (0.8, 0.7, 0.6, 0.5, 0.4), None),
    "brightness_up": Kind(_brightness, (1.1, 1.2, 1.3, 1.4, 1.5), "brightness"),
    "brightness_down": Kind(_brightness, (0.9, 0.8, 0.7, 0.6, 0.5), "brightness"),
    "contrast_up": Kind(_contrast, (1.1, 1.2, 1.3, 1.4, 1.6), "contrast"),
    "contrast_down": Kind(_contrast, (0.9, 0.8, 0.7, 0.6, 0.4), "contrast"),
    "gamma_corr_up": Kind(_gamma, (1.1, 1.2, 1.3, 1.4, 1.6), "gamma"),
    "gamma_corr_down": Kind(_gamma, (0.9, 0.8, 0.7, 0.6, 0.4), "gamma"),
}
