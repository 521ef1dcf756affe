"""Findings of disease on a synthetic radiograph: opacities that fill the lungs' air, and coarser markings."""

from typing import NamedTuple

import numpy as np

from cxr.data.phantom.anatomy import SIDES, to_image
from cxr.data.phantom.drawing import Params, Streams, blobs


class Pattern(NamedTuple):
    """The distribution of one kind of disease in the lungs; a pair is the range of a uniform draw."""

    label: int
    fraction: float  # of its class
    height: tuple[float, float]  # of the focus: 0 apex, 1 hemidiaphragm
    lateral: tuple[float, float]  # 0 midline, 1 chest wall
    scatter: float  # of the opacities around the focus
    radius: tuple[float, float]
    amount: float
    bilateral: float  # probability that an opacity is in the other lung
    streaks: float  # increase of the interstitial markings
    haze: float  # over both lungs
    cavities: float  # probability that an opacity is a ring with a dark centre


PATTERNS: tuple[Pattern, ...] = (
    Pattern(0, 1.00, (0.0, 1.0), (0.0, 1.0), 0.0, (0.1, 0.2), 0.0, 0.00, 0.0, 0.0, 0.0),
    # Lobar pneumonia, bronchopneumonia, interstitial pneumonia.
    Pattern(1, 0.40, (0.2, 0.9), (0.25, 0.75), 0.2, (0.16, 0.34), 1.3, 0.05, 0.1, 0.1, 0.0),
    Pattern(1, 0.35, (0.4, 0.8), (0.25, 0.70), 0.5, (0.10, 0.22), 1.2, 0.50, 0.3, 0.2, 0.0),
    Pattern(1, 0.25, (0.5, 0.6), (0.20, 0.40), 0.4, (0.20, 0.38), 0.6, 0.50, 0.6, 0.4, 0.0),
    # Cavitary tuberculosis, infiltrates.
    Pattern(2, 0.60, (0.1, 0.3), (0.30, 0.60), 0.2, (0.09, 0.18), 2.2, 0.25, 0.3, 0.0, 0.4),
    Pattern(2, 0.40, (0.1, 0.4), (0.25, 0.60), 0.3, (0.09, 0.22), 1.8, 0.40, 0.4, 0.0, 0.1),
)
_OPACITIES = 5


def _pattern(label: int, draw: float) -> Pattern:
    patterns = [q for q in PATTERNS if q.label == label]
    return patterns[np.searchsorted(np.cumsum([q.fraction for q in patterns[:-1]]), draw)]


class Findings(NamedTuple):
    """What disease adds to the healthy lungs, float32.

    filling: (radiographs, grid, grid), what fills the air: `opacities`, the hila and haze over both lungs.
    opacities: (radiographs, grid, grid), the focal part of it alone; exactly 0 in normal radiographs.
    streaks: (radiographs, 1, 1), the increase of the interstitial markings.
    """

    filling: np.ndarray
    opacities: np.ndarray
    streaks: np.ndarray


def disease(anatomy: Streams, p: Params, labels: np.ndarray, texture: np.ndarray) -> Findings:
    grid, severity = texture.shape[-1], np.maximum(p["severity"], 0.12)
    kind, other_side, focus_y, focus_x = anatomy.uniform(4, 1, 1).swapaxes(0, 1)
    patterns = [_pattern(label, draw) for label, draw in zip(labels, kind[:, 0, 0], strict=True)]

    def of(field: str) -> np.ndarray:
        return np.array([getattr(q, field) for q in patterns], np.float32).T[..., None, None]

    def between(field: str, draw: np.ndarray) -> np.ndarray:
        low, high = of(field)
        return low + (high - low) * draw

    dy, dx, radius, amount, flip, hollow = anatomy.uniform(6, _OPACITIES, 1).swapaxes(0, 1)
    height = between("height", focus_y) + of("scatter") * (2 * dy - 1)
    lateral = between("lateral", focus_x) + of("scatter") * (dx - 0.5)
    side = np.where((other_side < 0.5) ^ (flip < of("bilateral")), np.float32(-1), np.float32(1))
    x = side * (0.12 + lateral * (p["width"] - 0.12) * (0.5 + 0.5 * height.clip(0, 1)))
    u, v = to_image(p, x, p["apex"] + height * (p["dome"] - p["apex"]))
    radius = between("radius", radius) * p["scale"]
    amount = of("amount") * (0.5 + amount) * severity
    opacities = blobs(u, v, radius, amount, grid)
    opacities -= blobs(u, v, 0.6 * radius, 1.5 * amount * (hollow < of("cavities")), grid)
    opacities = np.maximum(opacities, 0) * np.maximum(1 + 0.7 * texture, 0.1)  # ragged, air bronchograms

    streaks = of("streaks") * severity
    u, v = to_image(p, 0.2 * SIDES, 0 * SIDES)
    hila = blobs(u, v, 0.16, np.maximum(p["hila"], 0) * (1 + streaks), grid)
    return Findings(opacities + hila + of("haze") * severity, opacities, streaks)
