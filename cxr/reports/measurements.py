"""Measurements on one radiograph: the distribution of a class activation map over zones, and image statistics
ranked among the training radiographs.

Zones (upper, middle and lower on either side, and the midline) are fixed parts of the image, not a
segmentation: thirds of its height, left and right of a strip in the middle that mostly shows spine,
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
    """A measured value, and the fraction (0 to 1) of the training radiographs below it; ties count half."""

    value: float
    below: float


def zone_fractions(heat: np.ndarray) -> dict[str, float]:
    """The fraction of the map's mass in each zone, such as "upper left", and on the "midline"; they add up to
    1. Empty for a map of zeros.

    heat: (S, S) float, 0 or more. Left and right are sides of the image: in standard display orientation the
    patient's right is on image left.
    """
    total = float(heat.sum(dtype=np.float64))
    if not total:
        return {}
    centres = (np.arange(len(heat)) + 0.5) / len(heat)
    height = np.minimum((centres * len(HEIGHTS)).astype(int), len(HEIGHTS) - 1)
    sides = {"left": centres < STRIP[0], "right": centres > STRIP[1]}
    fractions = {
        f"{name} {side}": float(heat[height == level][:, columns].sum(dtype=np.float64)) / total
        for level, name in enumerate(HEIGHTS)
        for side, columns in sides.items()
    }
    between = ~(sides["left"] | sides["right"])
    return fractions | {MIDLINE: float(heat[:, between].sum(dtype=np.float64)) / total}


def image_statistics(images: np.ndarray) -> dict[str, np.ndarray]:
    """Of each image its mean grey level and contrast (standard deviation), both from 0 to 255, and the
    fraction of clipped pixels (0 or 255), from 0 to 1: (N,) float64 each. images: (N, S, S) uint8, may be a
    memory map."""
    rows = [(image.mean(), image.std(), np.isin(image, (0, 255)).mean()) for image in images]
    columns = np.array(rows, np.float64).reshape(-1, 3).T
    return dict(zip(("mean", "contrast", "clipped"), columns, strict=True))


def rank_in_training(image: np.ndarray, reference: Mapping[str, np.ndarray]) -> dict[str, Rank]:
    """image: (S, S) uint8. reference: `image_statistics` of the training radiographs."""
    ranks = {}
    for name, (value,) in image_statistics(image[None]).items():
        others = reference[name]
        below = (others < value).mean() + (others == value).mean() / 2
        ranks[name] = Rank(float(value), float(below))
    return ranks
