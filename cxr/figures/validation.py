"""A figure of `cxr validate`: histograms of probabilities by class."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cxr.figures.style import COLOURS, save_figure

WIDTH, DPI = 4.4, 160  # inches; legible on a telephone
HISTOGRAM = np.linspace(0, 1, 21)


def class_histograms(
    path: Path | str, probabilities: Mapping[str, np.ndarray], label: str, threshold: float | None
) -> None:
    """A panel for each class. probabilities: (n,) float of its radiographs. label: what they are of.
    threshold: a dashed line."""
    figure = Figure(figsize=(WIDTH, 0.6 + 1.7 * len(probabilities)), dpi=DPI, layout="constrained")
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
