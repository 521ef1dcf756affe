"""Figures of the stage evaluate: confusion matrix and learning curve."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxr.figures.style import save_figure

DPI = 110  # of a learning curve, whose many lines take space
CELL, CELL_DPI = 1.25, 160  # inches
DARKEST = 0.5  # of 1, the grey of a share of 100 %: black text stays legible, and little ink is printed


def confusion_matrix(path: Path | str, table: np.ndarray, classes: Sequence[str], title: str) -> None:
    """Counts, and their share of the true class, by which a cell is shaded.

    table: (C, C) int, row of the true class, column of the decision.
    """
    total = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, total, out=np.zeros(table.shape), where=total > 0)
    names = [fill(name, 20) for name in classes]
    longest = max(len(line) for name in names for line in name.split("\n"))
    size = CELL * len(classes) + 1.2 + 0.08 * longest, CELL * len(classes) + 1.3
    figure = Figure(figsize=size, dpi=CELL_DPI, layout="constrained")
    figure.suptitle(title, fontsize=11)
    ax = figure.subplots()
    ax.imshow(DARKEST * shares, cmap="Greys", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        ax.text(column, row, f"{table[row, column]:,}\n{share:.1%}", ha="center", va="center")
    rows = [f"{name}\n({count:,})" for name, count in zip(names, total[:, 0], strict=True)]
    ax.set_yticks(range(len(classes)), rows)
    ax.set_xticks(range(len(classes)), names, rotation=0 if 0.09 * longest < CELL else 30)
    ax.set(xlabel="decision", ylabel="true class (radiographs)")
    ax.set_xticks(np.arange(1, len(classes)) - 0.5, minor=True)
    ax.set_yticks(np.arange(1, len(classes)) - 0.5, minor=True)
    ax.grid(which="minor", color="0.4", linewidth=0.8)
    ax.tick_params(which="both", length=0)
    for spine in ax.spines.values():
        spine.set(visible=True, color="0.6")
    save_figure(figure, path)


@dataclass(frozen=True)
class LearningCurve:
    """One measure on one split, by epoch: (M, E) float, a row for each of M members; NaN after a member has
    stopped."""

    name: str
    colour: str
    values: np.ndarray


def learning_curves(
    path: Path | str, panels: dict[str, Sequence[LearningCurve]], chosen: np.ndarray, title: str
) -> None:
    """A panel for each measure, by its label: every member as a thin line, their mean as a thick one.

    chosen: (M,) int, from 0, the epoch whose weights are released; a dot on each member's curves.
    """
    figure = Figure(figsize=(4.9 * len(panels), 4), dpi=DPI, layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (label, curves) in zip(axes, panels.items(), strict=True):
        for curve in curves:
            _draw(ax, curve, chosen)
        ax.set(xlabel="epoch", ylabel=label)
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0].legend(frameon=False, fontsize=9)
    save_figure(figure, path)


def _draw(ax: Axes, curve: LearningCurve, chosen: np.ndarray) -> None:
    members, epochs = curve.values.shape
    x = np.arange(1, epochs + 1)
    ax.plot(x, curve.values.T, color=curve.colour, alpha=0.45, linewidth=0.6)
    # Only where every member has come: a mean of fewer would jump.
    mean = curve.values.mean(axis=0)
    ax.plot(x, mean, color=curve.colour, linewidth=1.8, label=f"{curve.name}, mean of {members}")
    ax.plot(
        chosen + 1,
        curve.values[np.arange(members), chosen],
        "o",
        color=curve.colour,
        markeredgecolor="white",
        markersize=6,
        label=f"{curve.name}, released epoch",
    )
