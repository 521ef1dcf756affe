"""Grey levels of a whole data set, counted without a float copy of it."""

import numpy as np

LEVELS = np.arange(256)


def count_levels(images: np.ndarray) -> np.ndarray:
    """How often each grey level 0-255 occurs in `images` (N, H, W) uint8. Returns (256,) float64."""
    counts = np.zeros(256)
    for start in range(0, len(images), 256):
        counts += np.bincount(images[start : start + 256].ravel(), minlength=256)
    return counts


def mean_and_std(counts: np.ndarray) -> tuple[float, float]:
    mean = np.average(LEVELS, weights=counts)
    return float(mean), float(np.sqrt(np.average((LEVELS - mean) ** 2, weights=counts)))
