"""Class activation maps over radiographs, without matplotlib."""

import base64
import io
import zlib

import numpy as np
from PIL import Image

from cxr.data.radiograph import Original
from cxr.inference.onnx_session import enlarged_map

SIDE = 512  # pixels of a radiograph, at most
LAYER = 128  # pixels of a map, which has few details; whoever shows it interpolates
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
    grey = _displayed(image).astype(np.float32)
    heat = enlarged_map(activation, len(grey))
    weight = alpha * heat[..., None]
    mixed = (1 - weight) * grey[..., None] + weight * coloured(heat)
    return png(Image.fromarray(np.rint(mixed).astype(np.uint8)))


def shown(image: Original) -> bytes:
    """A grey PNG of the radiograph's centre square, at most `SIDE` pixels wide: `overlay` with alpha 0."""
    return png(Image.fromarray(_displayed(image)))


def layer(activation: np.ndarray) -> bytes:
    """A PNG of `LAYER` pixels a side with transparency, to lay over what `shown` gives: `overlay` with alpha
    1, up to interpolation and rounding. A palette makes it small. activation: see `overlay`."""
    levels = Image.fromarray(np.rint(255 * enlarged_map(activation, LAYER)).astype(np.uint8))
    palette = np.rint(coloured(np.arange(256) / 255)).astype(np.uint8)
    levels.putpalette(palette.tobytes())
    return png(levels, transparency=bytes(range(256)))


def _displayed(image: Original) -> np.ndarray:
    return image.resized(min(SIDE, image.square.width))


def coloured(values: np.ndarray) -> np.ndarray:
    """Viridis colours, (..., 3) float32 from 0 to 255. values: (...) from 0 to 1."""
    steps = np.linspace(0, 1, len(VIRIDIS))
    return np.stack([np.interp(values, steps, channel) for channel in VIRIDIS.T], axis=-1).astype(np.float32)


def png(image: Image.Image, **options: bytes) -> bytes:
    """options: of Pillow's encoder."""
    file = io.BytesIO()
    # Of a radiograph, looking for repetitions takes ten times as long and saves nothing.
    image.save(file, "PNG", compress_type=zlib.Z_HUFFMAN_ONLY, **options)
    return file.getvalue()


def data_uri(content: bytes) -> str:
    """A PNG as a data URI, which a page shows without another request."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
