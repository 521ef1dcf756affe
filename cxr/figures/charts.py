"""Charts of numbers: class counts, grey levels, reliability, corruptions, subgroups, projections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from cxr.figures.style import COLOURS, GREY, MARKED, PLAIN, SERIES, save_figure, shortened

HISTOGRAM = np.linspace(0, 1, 21)


@dataclass(frozen=True)
class ReliabilityDiagram:
    """probability: the mean in each of the B bins that are not empty; observed: the frequency of the event in
    it, 0 to 1, low and high: the ends of its interval, all (B,) float. images: (B,) int, in each bin. bins:
    the number of all bins. probabilities: (N,) float, of all images."""

    title: str
    probability: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    images: np.ndarray
    bins: int
    probabilities: np.ndarray


def reliability_diagrams(
    path: Path | str, diagrams: Sequence[ReliabilityDiagram], title: str, axes: tuple[str, str]
) -> None:
    """A panel for each diagram, and below it the histogram of the probabilities.

    axes: the labels of the horizontal and the vertical axis.
    """
    figure = Figure(figsize=(4.1 * len(diagrams), 6.4), layout="constrained")
    figure.suptitle(fill(title, 45 * len(diagrams)))
    grid = figure.subplots(2, len(diagrams), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 1))
    for number, diagram in enumerate(diagrams):
        _draw(grid[0][number], diagram)
        grid[1][number].hist(diagram.probabilities, HISTOGRAM, color=GREY)
        grid[1][number].set(xlabel=axes[0], yscale="log")
        # Of a narrow range Matplotlib labels the minor ticks too, and here they overlap.
        grid[1][number].yaxis.set_minor_formatter(NullFormatter())
    grid[0][0].set_ylabel(axes[1])
    grid[1][0].set_ylabel("images")
    save_figure(figure, path)


def _draw(ax: Axes, diagram: ReliabilityDiagram) -> None:
    ax.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    ends = np.abs([diagram.observed - diagram.low, diagram.high - diagram.observed])
    ax.errorbar(
        diagram.probability, diagram.observed, ends, fmt="o-", color=PLAIN, markersize=4, linewidth=1.2
    )
    counts, used = diagram.images, len(diagram.images)
    images = f"{counts.min()} to {counts.max()}" if np.ptp(counts) else f"{counts[0]}"
    bins = f"{used} of {diagram.bins}" if used < diagram.bins else f"{used}"
    text = f"{bins} bins of {images} radiographs"
    ax.text(0.97, 0.03, text, ha="right", fontsize=9, transform=ax.transAxes)
    ax.set(title=diagram.title, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))


def subgroup_table(
    path: Path | str, subgroups: Mapping[str, Mapping[str, Mapping[str, Any]]], overall: float, title: str
) -> None:
    """Accuracy of each subgroup with its interval; dashed: the `overall` one.

    subgroups: by attribute and name, each with `images` and `errors` (counts), `accuracy`, `low`, `high`,
    `p`.
    """
    rows = [(group, name, row) for group, names in subgroups.items() for name, row in names.items()]
    figure = Figure(figsize=(9.5, 1.6 + 0.36 * len(rows)), layout="constrained")
    ax = figure.subplots()
    ax.axvline(overall, color="0.6", linestyle="--")
    for y, (_, _, row) in enumerate(rows):
        colour = MARKED if row["p"] < 0.05 else PLAIN
        ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2)
        ax.plot(row["accuracy"], y, "o", color=colour)
        text = f"{row['errors']:,} of {row['images']:,} misclassified"
        ax.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
    ax.set_yticks(range(len(rows)), [fill(f"{group}: {name}", 40) for group, name, _ in rows])
    ax.invert_yaxis()
    ax.set(
        title=f"{title} (dashed: all radiographs, {overall:.3f})\n"
        "Purple: differs from all other radiographs (p < 0.05, Holm's correction)",
        xlabel="accuracy (95 % CI, Wilson)",
    )
    save_figure(figure, path)


def class_counts(path: Path | str, counts: Mapping[str, Mapping[str, int]], title: str) -> None:
    """One panel for each key of `counts`, one labelled bar for each class in it."""
    rows = max(len(panel) for panel in counts.values())
    figure = Figure(figsize=(min(4.2 * len(counts), 9.5), 1.3 + 0.55 * rows), layout="constrained")
    figure.suptitle(title)
    names = list(dict.fromkeys(name for panel in counts.values() for name in panel))
    axes = figure.subplots(1, len(counts), squeeze=False)[0]
    for ax, (label, panel) in zip(axes, counts.items(), strict=True):
        colours = [_colour(names, name) for name in panel]
        bars = ax.barh([fill(name, 20) for name in panel], list(panel.values()), color=colours)
        total = sum(panel.values())
        ax.bar_label(bars, [f"{n:,} ({n / total:.0%})" for n in panel.values()], padding=4)
        ax.set(title=f"{label}: {total:,}", xlabel="images", xlim=(0, 1.9 * max(panel.values())))
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
        ax.invert_yaxis()
    save_figure(figure, path)


def intensity(path: Path | str, levels: Mapping[str, Mapping[str, np.ndarray]], title: str) -> None:
    """One panel for each class, one line for each split in it.

    levels: the number of pixels of each grey level 0-255, (256,) float, by class and split. Drawn in bins of
    8 levels.
    """
    figure = Figure(figsize=(7, 1.2 + 1.8 * len(levels)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(levels), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for ax, (name, panel) in zip(axes, levels.items(), strict=True):
        for colour, (split, counts) in zip(SERIES, panel.items(), strict=False):
            fractions = counts.reshape(-1, 8).sum(axis=1) / counts.sum()
            ax.stairs(fractions, np.arange(0, 257, 8), label=split, color=colour, linewidth=1.5)
        ax.set(title=name, ylabel="fraction of pixels", xlim=(0, 256))
        ax.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, decimals=0))
    axes[-1].set(xlabel="grey level (0: black)", xticks=range(0, 257, 32))
    axes[0].legend(frameon=False)
    save_figure(figure, path)


@dataclass(frozen=True)
class SeverityCurve:
    """Balanced errors at severities 1, 2, ... with the ends of their intervals, (S,) float, 0 to 1.
    colour: of the line and the band."""

    title: str
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    colour: str


def severity_curves(path: Path | str, curves: Sequence[SeverityCurve], reference: float, title: str) -> None:
    """A panel for each curve with its interval as a band, all on one scale; dashed: `reference`, the balanced
    error without corruption."""
    columns = 4
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(10, 1.1 + 2.1 * rows), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, curve in zip(grid, curves, strict=False):
        x = np.arange(1, len(curve.values) + 1)
        ax.axhline(reference, color="0.5", linestyle="dashed", linewidth=1)
        ax.fill_between(x, curve.low, curve.high, color=curve.colour, alpha=0.25, linewidth=0)
        ax.plot(x, curve.values, color=curve.colour, marker="o", markersize=4)
        ax.set_title(curve.title, fontsize=10)
        ax.set(xticks=x)
        ax.tick_params(labelbottom=True)
    grid[0].set_ylim(bottom=0)  # after all are drawn, since the scale is shared
    for ax in grid[len(curves) :]:
        ax.set_axis_off()
    figure.supxlabel("severity")
    figure.supylabel("balanced error on test")
    save_figure(figure, path)


def projection(path: Path | str, points: np.ndarray, names: np.ndarray, order: Sequence[str]) -> None:
    """The first two principal components of `points`, (n, d) float, coloured by `names`, (n,) str.

    order: all names, in the order of colours.
    """
    centred = points - points.mean(axis=0)
    _, values, axes = np.linalg.svd(centred.T @ centred)
    plane, explained = centred @ axes[:2].T, values[:2] / values.sum()
    shown = [name for name in order if name in names]
    figure = Figure(figsize=(8.5, max(5, 1 + 0.25 * len(shown))), layout="constrained")
    ax = figure.subplots()
    for name in shown:
        x, y = plane[names == name].T
        label = f"{shortened(name, 36)} ({len(x):,})"
        ax.scatter(x, y, s=6, alpha=0.5, color=_colour(order, name), label=label, linewidths=0)
    ax.set(
        title="Embeddings of the training radiographs by sub-class",
        xlabel=f"first principal component ({explained[0]:.0%} of variance)",
        ylabel=f"second principal component ({explained[1]:.0%} of variance)",
    )
    ax.legend(markerscale=3, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    save_figure(figure, path)


def _colour(names: Sequence[str], name: str) -> str:
    return COLOURS[names.index(name) % len(COLOURS)]
