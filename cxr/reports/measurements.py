"""What is measured on one radiograph: where a map's mass lies, and how it is exposed beside the training
radiographs.

Zones (upper, middle and lower of either side, and the midline) are fixed parts of the picture, no
segmentation: thirds of its height, and left and right of a strip around the middle that mostly shows spine,
mediastinum and heart.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

HEIGHTS = ("upper", "middle", "lower")
STRIP = (0.4, 0.6)  # of the width
MIDLINE = "midline"


@dataclass(frozen=True)
class Rank:
    """A measured value, and the share (0 to 1) of the training radiographs that have less; ties count
    half."""

    value: float
    below: float


def zone_fractions(heat: np.ndarray) -> dict[str, float]:
    """The share of the mass in each zone, such as "upper left", and on the "midline"; they add up to 1.

    heat: (S, S) float, 0 or more. Left and right are the picture's sides: a radiograph hung the usual way
    shows the patient's right on its left. Empty if the map is 0 all over.
    """
    total = float(heat.sum(dtype=np.float64))
    if not total:
        return {}
    places = (np.arange(len(heat)) + 0.5) / len(heat)
    height = np.minimum((places * len(HEIGHTS)).astype(int), len(HEIGHTS) - 1)
    sides = {"left": places < STRIP[0], "right": places > STRIP[1]}
    found = {
        f"{name} {side}": float(heat[height == level][:, columns].sum(dtype=np.float64)) / total
        for level, name in enumerate(HEIGHTS)
        for side, columns in sides.items()
    }
    between = ~(sides["left"] | sides["right"])
    return found | {MIDLINE: float(heat[:, between].sum(dtype=np.float64)) / total}


def image_statistics(images: np.ndarray) -> dict[str, np.ndarray]:
    """Of each radiograph its mean grey level and contrast (standard deviation), both in 0 to 255, and the
    share of clipped pixels (0 or 255), 0 to 1: (N,) float64 each. radiographs: (N, S, S) uint8, may be a
    memory map."""
    rows = [(image.mean(), image.std(), np.isin(image, (0, 255)).mean()) for image in images]
    columns = np.array(rows, np.float64).reshape(-1, 3).T
    return dict(zip(("mean", "contrast", "clipped"), columns, strict=True))


def rank_in_training(image: np.ndarray, reference: Mapping[str, np.ndarray]) -> dict[str, Rank]:
    """radiograph: (S, S) uint8. reference: `measure` of the training radiographs."""
    found = {}
    for name, (value,) in image_statistics(image[None]).items():
        others = reference[name]
        below = (others < value).mean() + (others == value).mean() / 2
        found[name] = Rank(float(value), float(below))
    return found
