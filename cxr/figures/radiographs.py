"""Figures of radiographs: samples of each class, class activation maps, rows of neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxr.core.dataset import SPLITS
from cxr.figures.style import HEAT, MARKED, PLAIN, save_figure, shortened

MAP_ALPHA = 0.6  # the opacity of a class activation map where it is 1
MAP_SCALE = "fraction of the map's maximum (low values are transparent)"  # the label of its colour bar


def sample_grid(
    path: Path | str, images: np.ndarray, labels: np.ndarray, splits: np.ndarray, classes: Sequence[str]
) -> None:
    """The first eight radiographs of each class in each split, not a selection.

    images: (N, H, W) uint8. labels: (N,) int, index into `classes`. splits: (N,) str.
    """
    rows = {
        f"{split}\n{name}": list(images[np.flatnonzero((splits == split) & (labels == label))[:8]])
        for split in SPLITS
        if split in splits
        for label, name in enumerate(classes)
    }
    image_rows(path, rows, "The first radiographs of each class in each split")


def image_rows(
    path: Path | str,
    rows: Mapping[str, Sequence[np.ndarray]],
    title: str,
    heads: Sequence[str] = (),
    side: float = 1.05,
) -> None:
    """A row of (H, W) uint8 images for each key of `rows`, its label. heads: a title for each column. side:
    of an image, in inches."""
    columns = max(len(images) for images in rows.values())
    size = (1.6 + side * columns, 0.5 + side * len(rows) + (0.3 if heads else 0))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for ax, head in zip(grid[0], heads, strict=False):
        ax.set_title(head, fontsize=11)
    for axes, (label, images) in zip(grid, rows.items(), strict=True):
        for ax in axes:
            ax.set_axis_off()
        for ax, image in zip(axes, images, strict=False):
            show_image(ax, image)
        label = "\n".join(fill(line, 20) for line in label.split("\n"))
        axes[0].text(-0.12, 0.5, label, transform=axes[0].transAxes, ha="right", va="center")
    save_figure(figure, path)


def show_image(ax: Axes, image: np.ndarray, frame: str | None = None) -> None:
    """Draw a (H, W) uint8 image, black at 0 and white at 255; `frame` is the colour of a border.

    Each pixel of a small image is visible; an image that has to shrink is antialiased.
    """
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=frame is not None, color=frame, linewidth=3)


def show_map(ax: Axes, image: np.ndarray, activation: np.ndarray, frame: str | None = None) -> None:
    """Draw a class activation map over a radiograph.

    image: (H, W) uint8. activation: (h, w) float32 in [0, 1], which covers `image` whatever its own size, in
    the colours of `HEAT` and with `MAP_ALPHA` times its value as opacity: where it is 0 the radiograph stays
    unchanged. frame: the colour of a border.
    """
    show_image(ax, image, frame=frame)
    height, width = image.shape
    ax.imshow(
        activation,
        cmap=HEAT,
        vmin=0,
        vmax=1,
        alpha=MAP_ALPHA * activation,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="bilinear",
    )


@dataclass(frozen=True)
class Neighbours:
    """A query, (H, W) uint8 of class `truth`, and its K nearest images, nearest first, with their classes and
    `values`: cosines or distances."""

    title: str
    image: np.ndarray
    truth: str
    images: Sequence[np.ndarray]
    classes: Sequence[str]
    values: Sequence[float]


def neighbour_rows(
    path: Path | str,
    rows: Sequence[Neighbours],
    title: str,
    measure: str,
    group: str = "class",
) -> None:
    """One row for each query; the frame of a neighbour shows whether it has the query's class.

    measure: the name of `values`. group: what `truth` and `classes` are, a word.
    """
    columns = 1 + max((len(row.images) for row in rows), default=5)
    figure = Figure(figsize=(1.6 * columns, 0.8 + 2.2 * len(rows) + (not rows)), layout="constrained")
    figure.suptitle(f"{title}\nFrame: black = same {group} as the query, purple = another {group}")
    if not rows:
        figure.text(0.5, 0.2, "There is no such radiograph.", ha="center")
        save_figure(figure, path)
        return
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        show_image(axes[0], row.image)
        axes[0].set_title(f"{row.title}\n{shortened(row.truth, 20)}", fontsize=10)
        for ax, image, name, value in zip(axes[1:], row.images, row.classes, row.values, strict=True):
            show_image(ax, image, frame=PLAIN if name == row.truth else MARKED)
            ax.set_title(f"{shortened(name, 20)}\n{measure} {value:#.4g}", fontsize=10)
    save_figure(figure, path)
