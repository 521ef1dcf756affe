"""ROC and precision-recall curves: a panel for each class, with bands, members and the decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxr.figures.style import save_figure

SIDE, DPI = 4.4, 160  # inches of a panel; legible on a telephone
COLUMNS = 3
CORNER = 0.3  # side of the corner in which most of a good ROC curve lies

Points = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Curve:
    """points: x and y, (P,) float each, 0 to 1. decision: the point of the decision, or None. band: x, low
    and high, (Q,) float each. members: `points` of single networks. colour: of all of it."""

    name: str
    points: Points
    colour: str
    decision: tuple[float, float] | None = None
    band: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    members: Sequence[Points] = ()


@dataclass(frozen=True)
class Panel:
    """chance: the y of a classifier without skill, at x = 0 and at x = 1."""

    title: str
    curves: Sequence[Curve]
    chance: tuple[float, float]


def roc_curves(path: Path | str, panels: Sequence[Panel], title: str = "") -> None:
    """x: false positive rate, y: sensitivity. A single panel whose curves have bands gets a second one with
    the corner of high sensitivity and specificity."""
    labels = "1 - specificity (false positive rate)", "sensitivity"
    zoomed = len(panels) == 1 and any(curve.band for curve in panels[0].curves)
    figure, axes = _panels(len(panels) + zoomed, title)
    for ax, panel in zip(axes, panels, strict=False):
        _draw(ax, panel, labels, "default")
        ax.legend(loc="lower right", frameon=False, fontsize=9)
    if zoomed:
        _draw(axes[1], panels[0], labels, "default")
        axes[1].set(xlim=(-0.01, CORNER), ylim=(1 - CORNER, 1.01), title="upper left corner")
    save_figure(figure, path)


def precision_recall_curves(path: Path | str, panels: Sequence[Panel], title: str) -> None:
    """x: recall, y: precision; a step wherever a threshold brings more recall."""
    figure, axes = _panels(len(panels), title)
    for ax, panel in zip(axes, panels, strict=True):
        _draw(ax, panel, ("recall (sensitivity)", "precision (positive predictive value)"), "steps-post")
        ax.legend(loc="lower left", frameon=False, fontsize=9)
    save_figure(figure, path)


def _panels(count: int, title: str) -> tuple[Figure, list[Axes]]:
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    size = SIDE * columns, SIDE * rows + (0.4 if title else 0)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]


def _draw(ax: Axes, panel: Panel, labels: tuple[str, str], steps: str) -> None:
    ax.plot([0, 1], panel.chance, color="0.6", linestyle="--", linewidth=1)
    for curve in panel.curves:
        if curve.band:
            x, low, high = curve.band
            label = "95 % interval at each point"
            ax.fill_between(x, low, high, color=curve.colour, alpha=0.2, linewidth=0, label=label)
        for number, points in enumerate(curve.members):
            label = "" if number else f"single networks ({len(curve.members)})"
            ax.plot(*points, color=curve.colour, alpha=0.5, linewidth=0.6, drawstyle=steps, label=label)
        ax.plot(*curve.points, color=curve.colour, linewidth=1.8, drawstyle=steps, label=curve.name)
        if curve.decision:
            name = f"decision {curve.name}" if len(panel.curves) > 1 else "released decision"
            ax.plot(*curve.decision, "o", color=curve.colour, markeredgecolor="white", label=name)
    ax.set(
        title=panel.title,
        xlabel=labels[0],
        ylabel=labels[1],
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        aspect="equal",
    )
