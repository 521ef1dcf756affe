"""Class activation maps over radiographs, without matplotlib."""

import io

import numpy as np
from PIL import Image

from cxr.data.radiograph import Original

SIDE = 512  # pixels, at most
ALPHA = 0.6  # as the figures of `cxr predict --explain` have it
# matplotlib's viridis (https://bids.github.io/colormap, CC0) at equal steps; linear in between.
VIRIDIS = np.array(
    [
        (68, 1, 84),
        (72, 24, 106),
        (71, 45, 123),
        (66, 64, 134),
        (59, 82, 139),
        (51, 99, 141),
        (44, 114, 142),
        (38, 130, 142),
        (33, 145, 140),
        (31, 160, 136),
        (40, 174, 128),
        (63, 188, 115),
        (94, 201, 98),
        (132, 212, 75),
        (173, 220, 48),
        (216, 226, 25),
        (253, 231, 37),
    ],
    dtype=np.float32,
)


def overlay(image: Original, activation: np.ndarray, alpha: float) -> bytes:
    """An RGB PNG of the radiograph's centre square under a class activation map, at most `SIDE` pixels wide.

    activation: (h, w) float32, a class activation map before its ReLU. alpha: from 0 to 1, opacity of the map
    where it has its maximum (yellow); elsewhere it is in proportion to the map, so that the radiograph is
    unchanged where nothing raises the score of the class.
    """
    side = min(SIDE, image.square.width)
    grey = image.resized(side).astype(np.float32)
    positive = Image.fromarray(np.maximum(activation, 0))
    heat = np.asarray(positive.resize((side, side), Image.Resampling.BILINEAR))
    heat = heat / max(float(heat.max()), np.finfo(np.float32).tiny)
    weight = alpha * heat[..., None]
    mixed = (1 - weight) * grey[..., None] + weight * coloured(heat)
    return png(np.rint(mixed).astype(np.uint8))


def coloured(values: np.ndarray) -> np.ndarray:
    """Viridis colours, (..., 3) float32 from 0 to 255. values: (...) from 0 to 1."""
    steps = np.linspace(0, 1, len(VIRIDIS))
    return np.stack([np.interp(values, steps, channel) for channel in VIRIDIS.T], axis=-1).astype(np.float32)


def png(pixels: np.ndarray) -> bytes:
    """pixels: (H, W) or (H, W, 3) uint8."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
