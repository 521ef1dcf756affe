"""How a source made its images from radiographs: the reading, by which any other radiograph has to be read
for a classifier of that source.

plain      antialiased; nothing is lost besides the resolution
medmnist   as PneumoniaMNIST was made (MedMNIST v2, Yang et al., 2023,
           https://doi.org/10.1038/s41597-022-01721-8), found by comparing its images with the originals:
           8-bit grey, Pillow's antialiased bilinear resampling of the centre square, one JPEG compression at
           Pillow's default quality, 75. At 28 pixels the results equal published test images byte for byte
           (tests/data/test_reading.py); of the editions of 64, 128 and 224 pixels that is not known.
"""

import io

import numpy as np
from PIL import Image

from cxr.core.dataset import Reading
from cxr.data.blocks import row_blocks

# For `plain`, pixels are averaged in blocks before an image is resized, down to this many times the wanted
# side, as Pillow does with its `reducing_gap`. That takes an eighth of the time, and one pixel in eleven of
# the real radiographs, at 28 pixels a side, changes by a grey level.
GAP = 6


def resize(square: Image.Image, size: int, reading: Reading) -> np.ndarray:
    """(size, size) uint8. square: a square image in Pillow's mode L or F, grey levels from 0 to 255."""
    return _medmnist(square, size) if reading == "medmnist" else _plain(square, size)


def to_uint8(grey: Image.Image) -> np.ndarray:
    """The grey levels of an image in mode L or F, rounded."""
    levels = np.asarray(grey)
    rounded = np.empty(levels.shape, np.uint8)
    for rows in row_blocks(*levels.shape):
        rounded[rows] = np.rint(levels[rows]).clip(0, 255)
    return rounded


def _plain(square: Image.Image, size: int) -> np.ndarray:
    factor = max(1, square.width // (size * GAP))
    blocks, side = square.reduce(factor).convert("F"), square.width / factor
    # Pillow's bicubic widens when it shrinks.
    return to_uint8(blocks.resize((size, size), Image.Resampling.BICUBIC, (0, 0, side, side)))


def _medmnist(square: Image.Image, size: int) -> np.ndarray:
    grey = square if square.mode == "L" else Image.fromarray(to_uint8(square))
    file = io.BytesIO()
    grey.resize((size, size), Image.Resampling.BILINEAR).save(file, "JPEG")
    return np.asarray(Image.open(file))
