"""Drawing of synthetic radiographs in batches: soft edges, smooth noise, blobs, curves, random parameters."""

import math
from collections.abc import Iterable

import numpy as np
from scipy.ndimage import gaussian_filter

Table = dict[str, tuple[float, float]]  # mean and standard deviation of every parameter
Params = dict[str, np.ndarray]  # (radiographs, 1, 1) float32 each


class Streams:
    """One random generator per radiograph, so that neither chunks nor size change the radiograph."""

    def __init__(self, seeds: Iterable[np.random.SeedSequence]) -> None:
        self._rngs = [np.random.default_rng(s) for s in seeds]

    def normal(self, *shape: int) -> np.ndarray:
        return np.stack([r.standard_normal(shape, dtype=np.float32) for r in self._rngs])

    def uniform(self, *shape: int) -> np.ndarray:
        return np.stack([r.random(shape, dtype=np.float32) for r in self._rngs])

    def table(self, table: Table) -> Params:
        """One draw per entry, at most 2.5 standard deviations from its mean."""
        mean, deviation = np.array(list(table.values()), np.float32).T
        draws = mean + deviation * self.normal(len(table)).clip(-2.5, 2.5)
        return dict(zip(table, draws.T[..., None, None], strict=True))


def step(distance: np.ndarray, width: float) -> np.ndarray:
    """A soft edge: 0 well below zero, 1 well above."""
    return 0.5 + 0.5 * np.tanh(distance * (1 / width))


def bell(distance: np.ndarray, width: float) -> np.ndarray:
    scaled = distance * (1 / width)
    return np.exp(-scaled * scaled)


def phase(number: np.ndarray) -> np.ndarray:
    """-0.5..0.5 from one element of a periodic structure (ribs, vertebrae) to the next."""
    return number - np.floor(number) - 0.5


def axis(grid: int) -> np.ndarray:
    return (np.arange(grid, dtype=np.float32) + 0.5) * (2 / grid) - 1


def noise(streams: Streams, cells: int, grid: int) -> np.ndarray:
    """(radiographs, grid, grid) of smooth unit-variance noise with `cells` independent values a side."""
    basis = bell((axis(grid)[:, None] - axis(cells)) * (cells / 2), 0.85)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    return basis @ streams.normal(cells, cells) @ basis.T


def blobs(
    u: np.ndarray, v: np.ndarray, radius: np.ndarray | float, amount: np.ndarray, grid: int
) -> np.ndarray:
    """(radiographs, grid, grid) sum of Gaussian opacities, from (radiographs, blobs, 1) image coordinates."""
    at = axis(grid)
    columns, rows = np.exp(-(((at - u) / radius) ** 2)), np.exp(-(((at - v) / radius) ** 2))
    return (np.swapaxes(amount * rows, 1, 2) @ columns).astype(np.float32)


def trace(u: np.ndarray, v: np.ndarray, weight: np.ndarray, calibre: float, grid: int) -> np.ndarray:
    """(radiographs, grid, grid) of curves of about unit height, from (radiographs, curves, dots) image
    coordinates.

    weight: broadcasts to the dots; the length of the curve that a dot represents, times its height.
    """
    images = len(u)
    column, row = (u + 1) * (grid / 2) - 0.5, (v + 1) * (grid / 2) - 0.5
    left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    canvas = np.zeros(images * grid**2)
    for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        fraction = weight * (1 - np.abs(row - r)) * (1 - np.abs(column - c))
        visible = (r >= 0) & (r < grid) & (c >= 0) & (c < grid)
        pixel = (np.arange(images)[:, None, None] * grid + r) * grid + c
        canvas += np.bincount(pixel[visible], fraction[visible], images * grid**2)
    sigma = max(calibre * grid / 2, 0.5)
    lines = gaussian_filter(
        canvas.reshape(images, grid, grid).astype(np.float32), (0, sigma, sigma), truncate=3
    )
    return lines * np.float32(sigma * math.sqrt(2 * math.pi) * grid / 2)
