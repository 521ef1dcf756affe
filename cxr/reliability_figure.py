"""The reliability diagram: what was found, against what was said."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxr.figures import COLOURS, save

HISTOGRAM = np.linspace(0, 1, 21)


@dataclass(frozen=True)
class Diagram:
    """probability: the mean of each of the B bins that are not empty; share: of its films with the event, low
    and high: the ends of its interval, all (B,) float. films: (B,) int. bins: how many there are with the
    empty ones. probabilities: (N,) float, of all films."""

    title: str
    probability: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    films: np.ndarray
    bins: int
    probabilities: np.ndarray


def picture(path: Path | str, diagrams: Sequence[Diagram], title: str, axes: tuple[str, str]) -> None:
    """A panel for each diagram, and below it how many films are given which probability.

    axes: the labels of the horizontal and the vertical one.
    """
    figure = Figure(figsize=(4.1 * len(diagrams), 6.4), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(2, len(diagrams), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 1))
    for number, diagram in enumerate(diagrams):
        _draw(grid[0][number], diagram, COLOURS[number])
        grid[1][number].hist(diagram.probabilities, HISTOGRAM, color=COLOURS[number])
        grid[1][number].set(xlabel=axes[0], yscale="log")
    grid[0][0].set_ylabel(axes[1])
    grid[1][0].set_ylabel("films")
    save(figure, path)


def _draw(ax: Axes, diagram: Diagram, colour: str) -> None:
    ax.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    ends = np.abs([diagram.share - diagram.low, diagram.high - diagram.share])
    ax.errorbar(diagram.probability, diagram.share, ends, fmt="o-", color=colour, markersize=4, linewidth=1.2)
    counts, used = diagram.films, len(diagram.films)
    films = f"{counts.min()} to {counts.max()}" if np.ptp(counts) else f"{counts[0]}"
    bins = f"{used} of {diagram.bins}" if used < diagram.bins else f"{used}"
    ax.text(0.97, 0.03, f"{bins} bins of {films} films", ha="right", fontsize=9, transform=ax.transAxes)
    ax.set(title=diagram.title, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
