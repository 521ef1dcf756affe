"""Whether heat maps lie on the opacities, where these are known: two pointing games with chance levels.

Pointing game (Zhang et al., 2018, https://doi.org/10.1007/s11263-017-1059-x): the maximum of a map hits or
misses the object, with a tolerance of 15 pixels on images of about 500. Energy-based (Wang et al., 2020,
https://arxiv.org/abs/1910.01279): the proportion of the heat that lies inside of the object.

Both depend on the size of the object, and opacities lie near the middle of an image, as do most maps. So two
chance levels stand beside each: of a map that knows nothing (`uniform`, the area), and of the maps of the
other images (`shuffled`), which have the same preference for the middle but do not know this image.
"""

from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from cxr.evaluation.statistics import blocks, interval
from cxr.inference.gradcam import gradcam
from cxr.models.classifier import Classifier

VISIBLE = 10  # grey levels of 255 that an opacity adds to a pixel which counts as part of it
TOLERANCE = 15 / 500  # of the pointing game, as a fraction of the image side


def point_at_opacities(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    opacities: np.ndarray,
    resamples: int,
    device: torch.device,
    patients: np.ndarray | None = None,
) -> dict[str, Any] | None:
    """`pointing` with the Grad-CAM maps of the true class, of the images with a visible opacity, whatever
    the classifier decided; None if there are fewer than two of them.

    images: (N, size, size) uint8. labels: (N,) int. opacities: (N, size, size) uint8, the grey levels that
    opacities add; a pixel belongs to one from `VISIBLE` on. patients: (N,) int, see `statistics.blocks`.
    """
    masks = opacities >= VISIBLE
    shown = masks.any(axis=(1, 2))
    if shown.sum() < 2:
        return None
    maps = gradcam(classifier, images[shown], labels[shown], device)
    return pointing(maps, masks[shown], resamples, None if patients is None else patients[shown])


def pointing(
    maps: np.ndarray, masks: np.ndarray, resamples: int, patients: np.ndarray | None = None
) -> dict[str, Any]:
    """Both games over N images, for metrics/explain.json.

    maps: (N, H, H) float, 0 or more. masks: (N, H, H) bool, with a pixel each. resamples: of the bootstrap
    over images, or over `patients`, (N,) int, for the 95 % intervals. `hit`: the proportion of maps with
    their maximum within `tolerance` pixels of the mask; of several equal maxima each counts in part.
    `energy`: the mean proportion of the heat inside of the mask. A map that is 0 everywhere (`empty`, their
    proportion) misses, with an energy of 0.

    Raises ValueError if there are fewer than two images, or a mask is empty.
    """
    if len(maps) < 2 or not masks.any(axis=(1, 2)).all():
        raise ValueError("the pointing game needs two images or more, each with an opacity")
    radius = tolerance(masks.shape[1])
    peaks = (maps == maps.max(axis=(1, 2), keepdims=True)) & (maps > 0)
    return {
        "images": len(maps),
        "empty": float((maps.max(axis=(1, 2)) == 0).mean()),
        "tolerance": radius,
        "hit": _game(peaks, _widened(masks, radius), resamples, patients),
        "energy": _game(maps, masks, resamples, patients),
    }


def tolerance(side: int) -> int:
    """Pixels, for images of `side` pixels a side."""
    return round(side * TOLERANCE)


def _game(
    heat: np.ndarray, masks: np.ndarray, resamples: int, patients: np.ndarray | None
) -> dict[str, float]:
    """The mean proportion of `heat` inside of `masks`, its interval, and the two chance levels."""
    count = len(heat)
    flat, inside = heat.reshape(count, -1).astype(np.float64), masks.reshape(count, -1)
    flat /= np.maximum(flat.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    own = (flat * inside).sum(axis=1)
    others = (inside @ flat.sum(axis=0) - own) / (count - 1)
    weights = np.concatenate(list(blocks(np.zeros(count, np.int64), resamples, patients=patients)))
    return {
        "value": float(own.mean()),
        **interval("proportion", float(own.mean()), weights @ own / weights.sum(axis=1)),
        "uniform": float(inside.mean()),
        "shuffled": float(others.mean()),
    }


def _widened(masks: np.ndarray, radius: int) -> np.ndarray:
    """(N, H, H) bool: the pixels at most `radius` pixels (Euclidean) from the mask."""
    if not radius:
        return masks
    off = np.arange(-radius, radius + 1)
    disc = np.hypot(off, off[:, None]) <= radius
    return np.asarray(binary_dilation(masks, disc[None]))
