"""The pictures of the pipeline, as PNG files whose bytes depend on their content alone.

Colours are Okabe and Ito's, which stay apart for colour-blind readers (https://jfly.uni-koeln.de/color/).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxr.files import atomic

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")

mpl.use("Agg")
mpl.rcParams.update(
    {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100}
)


def save(figure: Figure, path: Path | str) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def class_counts(path: Path | str, counts: Mapping[str, Mapping[str, int]], title: str) -> None:
    """One panel for each key of `counts`, one labelled bar for each class in it."""
    rows = max(len(panel) for panel in counts.values())
    figure = Figure(figsize=(min(4.2 * len(counts), 9.5), 1.3 + 0.55 * rows), layout="constrained")
    figure.suptitle(title)
    names = list(dict.fromkeys(name for panel in counts.values() for name in panel))
    axes = figure.subplots(1, len(counts), squeeze=False)[0]
    for ax, (label, panel) in zip(axes, counts.items(), strict=True):
        bars = ax.barh(list(panel), list(panel.values()), color=[_colour(names, name) for name in panel])
        total = sum(panel.values())
        ax.bar_label(bars, [f"{n:,} ({n / total:.0%})" for n in panel.values()], padding=4)
        ax.set(title=f"{label}: {total:,}", xlabel="films", xlim=(0, 1.9 * max(panel.values())))
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
        ax.invert_yaxis()
    save(figure, path)


def intensity(path: Path | str, levels: Mapping[str, Mapping[str, np.ndarray]], title: str) -> None:
    """One panel for each class, one line for each split in it.

    levels: how often each grey level 0-255 occurs, (256,), by class and split. Drawn in bins of 8 levels.
    """
    figure = Figure(figsize=(7, 1.2 + 1.8 * len(levels)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(levels), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for ax, (name, panel) in zip(axes, levels.items(), strict=True):
        for colour, (split, counts) in zip(COLOURS, panel.items(), strict=False):
            shares = counts.reshape(-1, 8).sum(axis=1) / counts.sum()
            ax.stairs(shares, np.arange(0, 257, 8), label=split, color=colour, linewidth=1.5)
        ax.set(title=name, ylabel="share of pixels", xlim=(0, 256))
        ax.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, decimals=0))
    axes[-1].set(xlabel="grey level, 0 is black", xticks=range(0, 257, 32))
    axes[0].legend(frameon=False)
    save(figure, path)


def sample_grid(
    path: Path | str, images: np.ndarray, labels: np.ndarray, splits: np.ndarray, classes: Sequence[str]
) -> None:
    """Eight films of each class of each split: the first ones, so that nothing is picked by eye."""
    rows = {
        f"{split}\n{name}": list(images[np.flatnonzero((splits == split) & (labels == label))[:8]])
        for split in dict.fromkeys(splits.tolist())
        for label, name in enumerate(classes)
    }
    film_rows(path, rows, "The first films of each class in each split")


def film_rows(path: Path | str, rows: Mapping[str, Sequence[np.ndarray]], title: str) -> None:
    """A labelled row of (H, W) uint8 films for each key of `rows`."""
    columns = max(len(films) for films in rows.values())
    figure = Figure(figsize=(1.6 + 1.05 * columns, 0.5 + 1.05 * len(rows)), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (label, films) in zip(grid, rows.items(), strict=True):
        for ax in axes:
            ax.set_axis_off()
        for ax, film in zip(axes, films, strict=False):
            show_film(ax, film)
        axes[0].text(-0.12, 0.5, label, transform=axes[0].transAxes, ha="right", va="center")
    save(figure, path)


def show_film(ax: Axes, film: np.ndarray, frame: str | None = None) -> None:
    """Draw a (H, W) uint8 film on its full grey scale; `frame` is the colour of a border.

    A small film is shown pixel by pixel, one that has to shrink is smoothed.
    """
    ax.imshow(film, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=frame is not None, color=frame, linewidth=3)


@dataclass(frozen=True)
class Neighbours:
    """A query film and its nearest films, nearest first; similarity: cosines, or distances."""

    title: str
    film: np.ndarray
    truth: str
    films: Sequence[np.ndarray]
    classes: Sequence[str]
    similarity: Sequence[float]


def neighbour_rows(
    path: Path | str,
    rows: Sequence[Neighbours],
    title: str,
    measure: str = "cosine",
    group: str = "class",
) -> None:
    """One row for each query; a neighbour of the query's class has a blue frame, any other an orange one.

    measure: what `similarity` is called. group: what `truth` and `classes` are called.
    """
    columns = 1 + max((len(row.films) for row in rows), default=5)
    figure = Figure(figsize=(1.6 * columns, 0.7 + 2.2 * max(1, len(rows))), layout="constrained")
    figure.suptitle(f"{title}\nframe: blue = same {group} as the query, orange = another {group}")
    if not rows:
        figure.text(0.5, 0.4, "no film", ha="center")
        save(figure, path)
        return
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        show_film(axes[0], row.film)
        axes[0].set_title(f"{row.title}\n{row.truth}", fontsize=10)
        for ax, film, name, score in zip(axes[1:], row.films, row.classes, row.similarity, strict=True):
            show_film(ax, film, frame=COLOURS[0] if name == row.truth else COLOURS[1])
            ax.set_title(f"{name}\n{measure} {score:#.4g}", fontsize=10)
    save(figure, path)


@dataclass(frozen=True)
class Curve:
    """Values at x = 1, 2, ... with the ends of their intervals; `colour` is that of the line and title."""

    title: str
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    colour: str


def severity_curves(path: Path | str, curves: Sequence[Curve], reference: float, title: str) -> None:
    """A panel for each curve with its interval as a band, all on one scale; dashed: `reference`."""
    columns = 4
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(10, 1.1 + 2.1 * rows), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, curve in zip(grid, curves, strict=False):
        x = np.arange(1, len(curve.values) + 1)
        ax.axhline(reference, color=COLOURS[6], linestyle="dashed", linewidth=1)
        ax.fill_between(x, curve.low, curve.high, color=curve.colour, alpha=0.25, linewidth=0)
        ax.plot(x, curve.values, color=curve.colour, marker="o", markersize=4)
        ax.set_title(curve.title, fontsize=10, color=curve.colour)
        ax.set(xticks=x)
        ax.tick_params(labelbottom=True)
    grid[0].set_ylim(bottom=0)  # after all are drawn: the shared scale has to hold every one of them
    for ax in grid[len(curves) :]:
        ax.set_axis_off()
    figure.supxlabel("severity")
    figure.supylabel("balanced error on test")
    save(figure, path)


def projection(path: Path | str, points: np.ndarray, names: np.ndarray) -> None:
    """First two principal components of `points` (n, d), one colour for each name."""
    centred = points - points.mean(axis=0)
    _, values, axes = np.linalg.svd(centred.T @ centred)
    flat, share = centred @ axes[:2].T, values[:2] / values.sum()
    figure = Figure(figsize=(7, 5), layout="constrained")
    ax = figure.subplots()
    order = sorted(set(names))
    for name in order:
        mine = flat[names == name]
        label = f"{name} ({len(mine):,})"
        ax.scatter(
            mine[:, 0], mine[:, 1], s=6, alpha=0.5, color=_colour(order, name), label=label, linewidths=0
        )
    ax.set(
        title="Training films and their sub-classes",
        xlabel=f"first principal component ({share[0]:.0%} of variance)",
        ylabel=f"second principal component ({share[1]:.0%} of variance)",
    )
    ax.legend(markerscale=3, frameon=False)
    save(figure, path)


def _colour(names: Sequence[str], name: str) -> str:
    return COLOURS[names.index(name) % len(COLOURS)]
