"""The three ways in which libraries resize images, for batches of square grey images."""

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

# levels: torchvision's of uint8 tensors; floats: torchvision's of float tensors, which does not round and may
# exceed black and white; pillow: that of a PIL image. They differ by one grey level in a few pixels.
Resizing = Literal["levels", "floats", "pillow"]
BITS = 22  # after the binary point of Pillow's weights


def resize_square(
    images: Tensor, size: tuple[int, int], mode: InterpolationMode, resizing: Resizing
) -> Tensor:
    """images: (n, S, S) uint8 on the CPU. size: height and width. Returns (n, 1, *size) float32, grey levels
    on the scale of 0 to 255, antialiased."""
    if resizing == "pillow" and mode in (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC):
        return _as_pillow(images, size, mode).unsqueeze(1)
    grey = images.unsqueeze(1)
    return F.resize(grey.float() if resizing == "floats" else grey, size, mode, antialias=True).float()


def _as_pillow(images: Tensor, size: tuple[int, int], mode: InterpolationMode) -> Tensor:
    """Pillow's `Image.resize` to the bit: along rows, then along columns, each with weights that are rounded
    to `BITS` binary digits, and sums that are rounded to grey levels.
    https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c"""
    height, width = size
    rows, columns = (_weights(images.shape[1], length, mode.value) for length in (height, width))
    across = _rounded(images.double() @ columns.T) if width != images.shape[2] else images.double()
    return (_rounded(rows @ across) if height != images.shape[1] else across).float()


@lru_cache(maxsize=4)
def _weights(before: int, after: int, mode: str) -> Tensor:
    """(after, before) float64 integers: the weights, times 2 to the power of `BITS`."""
    unit = torch.eye(before, dtype=torch.float64)[None, None]
    weights = interpolate(unit, [after, before], mode=mode, antialias=True)[0, 0] * 2**BITS
    return (weights + weights.sign() / 2).trunc()


def _rounded(sums: Tensor) -> Tensor:
    """Grey levels of sums that are exact, since a float64 holds integers up to 2 to the power of 53."""
    return (sums / 2**BITS + 0.5).floor_().clamp_(0, 255)
