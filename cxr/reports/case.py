"""What a writer may know of a film: all that can be measured on it, and nothing of its label."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rank:
    """A measured value, and the share (0 to 1) of the training films that have less; ties count half."""

    value: float
    below: float


@dataclass(frozen=True)
class Neighbour:
    """A film of the gallery. row: of the data set. name: its class. value: cosine or Euclidean distance."""

    row: int
    name: str
    value: float


@dataclass(frozen=True)
class Case:
    """A film and what was measured on it.

    row: of the data set. film: (S, S) uint8. probabilities: calibrated, by class name, in the data set's
    order. prevalence: the shares of the classes to which they refer. heat: (S, S) float32, the Grad-CAM of
    the most probable class, 0 to 1. zones: shares of its mass (see `cxr.reports.zones`), empty where it is 0.
    exposure: see `cxr.reports.exposure`. neighbours: nearest first. metric: what their values are.
    """

    row: int
    film: np.ndarray
    probabilities: Mapping[str, float]
    prevalence: Mapping[str, float]
    heat: np.ndarray
    zones: Mapping[str, float]
    exposure: Mapping[str, Rank]
    neighbours: tuple[Neighbour, ...]
    metric: str

    @property
    def size(self) -> int:
        """Pixels a side of the stored film."""
        return len(self.film)

    @property
    def decision(self) -> str:
        """The most probable class; of equal ones the first."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])


def shares_in_words(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{100 * share:.0f} % {name}" for name, share in shares.items())


def probabilities_in_words(probabilities: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in probabilities.items())
