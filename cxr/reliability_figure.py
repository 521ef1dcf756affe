"""The reliability diagram as a picture and as a table: what was found, against what was said."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxr.figures import COLOURS, save
from cxr.files import write_csv
from cxr.reliability import BINS, Curve

HISTOGRAM = np.linspace(0, 1, 21)


def table(path: Path | str, curve: Curve) -> None:
    """A row for each bin: the mean probability, the share found, the share if calibrated (the probability
    again: a diagonal to plot), the ends of the share's interval, and the number of films."""
    header = ("probability", "found", "calibrated", "low", "high", "films")
    columns = (curve.probability, curve.share, curve.probability, curve.low, curve.high, curve.films)
    write_csv(path, header, zip(*columns, strict=True))


def picture(
    path: Path | str,
    curves: Mapping[str, Curve],
    probabilities: Mapping[str, np.ndarray],
    title: str,
    axes: tuple[str, str],
) -> None:
    """A panel for each method, and below it how many films are given which probability.

    probabilities: (N,) for each method. axes: the labels of the horizontal and the vertical one.
    """
    figure = Figure(figsize=(4.1 * len(curves), 6.4), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(2, len(curves), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 1))
    for number, (name, curve) in enumerate(curves.items()):
        _diagram(grid[0][number], curve, COLOURS[number])
        grid[0][number].set_title(f"{name}: ECE {curve.error:.3f}")
        grid[1][number].hist(probabilities[name], HISTOGRAM, color=COLOURS[number])
        grid[1][number].set(xlabel=axes[0], yscale="log")
    grid[0][0].set_ylabel(axes[1])
    grid[1][0].set_ylabel("films")
    save(figure, path)


def _diagram(ax: Axes, curve: Curve, colour: str) -> None:
    ax.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    ends = np.abs([curve.share - curve.low, curve.high - curve.share])
    ax.errorbar(curve.probability, curve.share, ends, fmt="o-", color=colour, markersize=4, linewidth=1.2)
    films = f"{curve.films.min()} to {curve.films.max()}" if np.ptp(curve.films) else f"{curve.films[0]}"
    bins = f"{len(curve.films)} of {BINS}" if len(curve.films) < BINS else f"{BINS}"
    ax.text(0.97, 0.03, f"{bins} bins of {films} films", ha="right", fontsize=9, transform=ax.transAxes)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
