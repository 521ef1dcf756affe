"""Resamples of the films, drawn with replacement within each class, as counts instead of copies of the films.

A metric that takes a weight for each film then measures all resamples at once (Efron & Tibshirani, 1993, the
stratified bootstrap with resampling vectors).
"""

from collections.abc import Iterator

import numpy as np

CELLS = 2_000_000  # counts in one block, 16 MB


def blocks(labels: np.ndarray, resamples: int) -> Iterator[np.ndarray]:
    """(r, N) float64, `resamples` rows over all blocks: how often each film is drawn.

    labels: (N,) int. Every class keeps its number of films, so that no resample lacks one.
    """
    generator = np.random.default_rng(0)
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    drawn = np.concatenate([generator.choice(rows, (resamples, len(rows))) for rows in groups], axis=1)
    films = len(labels)
    for block in np.array_split(drawn, -(-drawn.size // CELLS)):
        cells = block + films * np.arange(len(block))[:, None]
        yield np.bincount(cells.ravel(), minlength=block.size).reshape(block.shape).astype(np.float64)


def interval(name: str, value: float, samples: np.ndarray) -> dict[str, float]:
    """`low` and `high`, the 95 % percentile interval of the metric `name`, `value` on the films themselves.

    samples: (R,) float, its values on resamples. Those of `ece` are first moved by what their mean is above
    `value`: a resample is noisier than the films it is drawn from, and noise only adds to this metric. The
    interval then holds the ECE to expect of other films, as many as these.
    """
    moved = samples - (samples.mean() - value) if name == "ece" else samples
    low, high = np.percentile(moved, [2.5, 97.5])
    return {"low": max(0.0, float(low)) if name == "ece" else float(low), "high": float(high)}
