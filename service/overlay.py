"""Class activation maps laid over radiographs, without matplotlib."""

import io

import numpy as np
from PIL import Image

from cxr.data.radiograph import Original

SIDE = 512  # pixels of an overlay at most
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


def overlay(image: Original, activation: np.ndarray, opacity: float) -> bytes:
    """A PNG of the radiograph's centre square under its heat map.

    activation: (h, w) float32, a class activation map before its ReLU, whose largest value is drawn yellow.
    opacity: of the heat map, 0 to 1.
    """
    side = min(SIDE, image.square.width)
    grey = image.resized(side).astype(np.float32)
    positive = Image.fromarray(np.maximum(activation, 0))
    heat = np.asarray(positive.resize((side, side), Image.Resampling.BILINEAR))
    heat = heat / max(float(heat.max()), np.finfo(np.float32).tiny)
    mixed = (1 - opacity) * grey[..., None] + opacity * coloured(heat)
    return png(np.rint(mixed).astype(np.uint8))


def coloured(values: np.ndarray) -> np.ndarray:
    """(..., 3) float32 from 0 to 255. values: (...) from 0 to 1."""
    steps = np.linspace(0, 1, len(VIRIDIS))
    return np.stack([np.interp(values, steps, channel) for channel in VIRIDIS.T], axis=-1).astype(np.float32)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
