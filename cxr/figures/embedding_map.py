"""A figure of embeddings in the plane: gallery and test radiographs by class, misclassified ones marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cxr.figures.style import COLOURS, PLAIN, save_figure, shortened


@dataclass(frozen=True)
class EmbeddingMap:
    """points: (n, 2) float. labels: (n,) int, into `classes`. queries: (n,) bool, test radiographs; the
    others are of the gallery. wrong: (n,) bool, misclassified ones of them."""

    points: np.ndarray
    labels: np.ndarray
    queries: np.ndarray
    wrong: np.ndarray
    classes: Sequence[str]


def draw_map(path: Path | str, shown: EmbeddingMap, title: str) -> None:
    """A panel for the gallery and one for test with the same axes, so that the points of one do not hide
    those of the other; without the first if all points are test radiographs."""
    groups = {"gallery": ~shown.queries, "test": shown.queries}
    groups = {name: inside for name, inside in groups.items() if inside.any()}
    columns = 3 if max(map(len, shown.classes)) <= 14 else 2  # of a legend
    lines = -(-(len(shown.classes) + 1) // columns)
    figure = Figure(figsize=(5.5 * len(groups), 6.8 + 0.3 * max(0, lines - 2)), layout="constrained")
    figure.suptitle(title, fontsize=10)
    panels = figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (name, inside) in zip(panels, groups.items(), strict=True):
        for label, of_class in enumerate(shown.classes):
            chosen = inside & (shown.labels == label)
            if chosen.any():
                ax.scatter(
                    *shown.points[chosen].T,
                    s=10,
                    alpha=0.6,
                    linewidths=0,
                    color=COLOURS[label % len(COLOURS)],
                    label=f"{shortened(of_class, 24)} ({chosen.sum():,})",
                )
        wrong = inside & shown.wrong
        if wrong.any():
            ax.scatter(
                *shown.points[wrong].T,
                s=34,
                marker="o",
                facecolors="none",
                edgecolors=PLAIN,
                linewidths=1.1,
                label=f"misclassified ({wrong.sum():,})",
            )
        ax.set(title=f"{name}, {inside.sum():,} radiographs", xticks=[], yticks=[])
        ax.set_box_aspect(1)
        ax.legend(
            markerscale=1.5,
            frameon=False,
            fontsize=9,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            ncols=columns,
        )
    save_figure(figure, path)
