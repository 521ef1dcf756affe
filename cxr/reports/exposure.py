"""How a film is exposed, beside the training films: facts of image quality that need no eye."""

from collections.abc import Mapping

import numpy as np

from cxr.reports.case import Rank


def measure(films: np.ndarray) -> dict[str, np.ndarray]:
    """Of each film its mean grey level and contrast (standard deviation), both in 0 to 255, and the share of
    clipped pixels (0 or 255), 0 to 1: (N,) float64 each. films: (N, S, S) uint8, may be a memory map."""
    rows = [(film.mean(), film.std(), np.isin(film, (0, 255)).mean()) for film in films]
    columns = np.array(rows, np.float64).reshape(-1, 3).T
    return dict(zip(("mean", "contrast", "clipped"), columns, strict=True))


def rank(film: np.ndarray, reference: Mapping[str, np.ndarray]) -> dict[str, Rank]:
    """film: (S, S) uint8. reference: `measure` of the training films."""
    found = {}
    for name, (value,) in measure(film[None]).items():
        others = reference[name]
        below = (others < value).mean() + (others == value).mean() / 2
        found[name] = Rank(float(value), float(below))
    return found
