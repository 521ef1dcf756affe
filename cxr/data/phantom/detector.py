"""The detector of a synthetic radiograph: side letters, leads, exposure, unsharpness and noise."""

import numpy as np
from scipy.ndimage import gaussian_filter

from cxr.data.phantom.anatomy import SIDES
from cxr.data.phantom.drawing import Params, Streams, axis, blobs, step, trace

# Side letters R and L, each one stroke of the pen in a unit square.
_LETTERS = (
    ((0, 1), (0, 0), (0.7, 0.05), (0.75, 0.4), (0, 0.5), (0.35, 0.5), (0.8, 1)),
    ((0, 0), (0, 1), (0.7, 1)),
)


def attachments(visit: Streams, p: Params, grid: int) -> np.ndarray:
    """Side letters and monitoring leads, equally frequent in every class."""
    t = np.linspace(0, 1, 96, dtype=np.float32)
    which, dx, dy = visit.uniform(3, 1, 1).swapaxes(0, 1)
    is_left = (which > 0.75).astype(np.int64)
    strokes = [
        [np.interp(t * (len(q) - 1), range(len(q)), c) for c in zip(*q, strict=True)] for q in _LETTERS
    ]
    letter = np.array(strokes, np.float32)[is_left[:, 0, 0]]
    u = 1.68 * is_left - 0.94 + 0.12 * dx + 0.07 * letter[:, :1]
    v = -0.93 + 0.76 * dy + 0.10 * letter[:, 1:]
    marks = trace(u, v, (p["letter"] > 0) * 0.35 / t.size, 0.007, grid)

    start, end, low = visit.uniform(3, 2, 1).swapaxes(0, 1)
    wired = (p["leads"] > 0) * np.abs(SIDES)
    u = SIDES * (0.35 + 0.5 * start + (1.4 * end - 1.0) * t * (0.4 + t * t))
    v = -1 + (0.5 + 1.2 * low) * t
    marks += 0.5 * trace(u, v, wired * 1.8 / t.size, 0.007, grid)
    return 0.35 * marks + 0.25 * blobs(u[..., -1:], v[..., -1:], 0.03, wired, grid)


def expose(density: np.ndarray, grain: np.ndarray, p: Params) -> np.ndarray:
    """Collimation, the characteristic curve, unsharpness and noise: (radiographs, grid, grid) in 0..1.

    grain: (radiographs, grid, grid) float32, unit-variance noise of each pixel."""
    grid = density.shape[-1]
    opening = [step(1 - p["collimation"] - np.abs(axis(grid) - p[shift]), 0.01) for shift in ("dx", "dy")]
    density = density * opening[0] * np.swapaxes(opening[1], 1, 2)
    image = 1 / (1 + np.exp(-4.3 * p["contrast"] * (density - 0.52) - 0.25 - p["exposure"]))
    sigma = grid / 224
    image += np.clip(p["unsharpness"], 0, 1) * (gaussian_filter(image, (0, sigma, sigma), truncate=3) - image)
    image += np.maximum(p["noise"], 0) * (grid / 224) * grain
    return np.clip(image, 0, 1)
