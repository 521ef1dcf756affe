"""Figures of `cxr validate`: ROC curves with the decision, and histograms of probabilities by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cxr.figures.style import COLOURS, save_figure

SIZE = (4.4, 4.4)  # inches: legible on a telephone
DPI = 160
HISTOGRAM = np.linspace(0, 1, 21)


@dataclass(frozen=True)
class RocCurve:
    """false_positive, true_positive: (P,) float, 0 to 1. decision: the point of it, or None. colour: of the
    line."""

    name: str
    false_positive: np.ndarray
    true_positive: np.ndarray
    decision: tuple[float, float] | None
    colour: str


def roc_curves(path: Path | str, curves: Sequence[RocCurve]) -> None:
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    for curve in curves:
        ax.plot(curve.false_positive, curve.true_positive, color=curve.colour, label=curve.name)
        if curve.decision:
            ax.plot(*curve.decision, "o", color=curve.colour, label=f"decision {curve.name}")
    ax.set(
        xlabel="1 - specificity (false positive rate)",
        ylabel="sensitivity",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        aspect="equal",
    )
    ax.legend(loc="lower right", frameon=False, fontsize=10)
    save_figure(figure, path)


def class_histograms(
    path: Path | str, probabilities: Mapping[str, np.ndarray], label: str, threshold: float | None
) -> None:
    """A panel for each class. probabilities: (n,) float of its radiographs. label: what they are of.
    threshold: a dashed line."""
    figure = Figure(figsize=(SIZE[0], 0.6 + 1.7 * len(probabilities)), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(probabilities), 1, squeeze=False, sharex=True)[:, 0]
    for number, (ax, (name, values)) in enumerate(zip(panels, probabilities.items(), strict=True)):
        ax.hist(values, HISTOGRAM, color=COLOURS[number % len(COLOURS)])
        ax.set_title(f"{name} ({len(values):,})", fontsize=11)
        ax.set(ylabel="radiographs", xlim=(0, 1))
        ax.yaxis.get_major_locator().set_params(integer=True)
        if threshold is not None:
            ax.axvline(threshold, color="0.3", linestyle="--", linewidth=1)
    panels[-1].set_xlabel(label)
    save_figure(figure, path)
