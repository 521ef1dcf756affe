"""Figures of `cxr predict --explain` and `cxr search`: class activation maps, and similar training images.

Radiographs are shown at full resolution (their centre square), beside the image that the model gets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cxr.core.errors import UserError
from cxr.figures.radiographs import MAP_SCALE, show_image, show_map
from cxr.figures.style import COLOURS, HEAT, save_figure
from cxr.reports.disclaimer import NOTICE

ROWS = 20  # in one figure: a longer one takes long to draw and is hard to read
PER_ROW = 5  # neighbours
# inches: the side of an explained radiograph, the side of a neighbour, the space between them
SIDE = 4.6
TILE = 1.85
GAP = 0.1


@dataclass(frozen=True)
class Explained:
    """A decision and its class activation map.

    image: (S, S) uint8, the centre square at full resolution. seen: (size, size) uint8, the image that the
    model gets. activation: (size, size) float32 in [0, 1]. decision: a class. probability: of this class.
    """

    name: str
    image: np.ndarray
    seen: np.ndarray
    activation: np.ndarray
    decision: str
    probability: float


@dataclass(frozen=True)
class SimilarImages:
    """A radiograph and the images most similar to it, nearest first.

    image, seen: as in `Explained`. neighbours: k images, (size, size) uint8, with their classes and captions.
    """

    name: str
    image: np.ndarray
    seen: np.ndarray
    neighbours: Sequence[np.ndarray]
    classes: Sequence[str]
    captions: Sequence[str]


def explanation_figure(path: Path, rows: Sequence[Explained]) -> None:
    """A row for each radiograph: itself, itself under its class activation map, and the model's input.

    Raises `UserError` if `path` cannot be written.
    """
    figure, grid = _grid(len(rows), 3, SIDE, caption=0.35, foot=0.8)
    _head(figure, f"Class activation maps (Grad-CAM) of the decisions. {NOTICE}")
    for axes, row in zip(grid, rows, strict=True):
        show_image(axes[0], row.image)
        show_map(axes[1], row.image, row.activation)
        show_image(axes[2], row.seen)
        regions = "regions that raise" if row.activation.any() else "no region raises"
        titles = (
            f"{_short(row.name, 30)} (centre square)",
            f"{regions} the score of {row.decision}: p = {row.probability:.3f}",
            f"input of the model: {len(row.seen)} x {len(row.seen)} pixels",
        )
        for ax, title in zip(axes, titles, strict=True):
            ax.set_title(title, fontsize=10)
    height = figure.get_figheight()
    figure.colorbar(
        ScalarMappable(Normalize(0, 1), HEAT),
        cax=figure.add_axes((0.35, 0.5 / height, 0.3, 0.15 / height)),
        orientation="horizontal",
        label=MAP_SCALE,
    )
    _save(figure, path)


def neighbour_figure(path: Path, queries: Sequence[SimilarImages], classes: Sequence[str]) -> None:
    """Each radiograph, at full resolution and as the model's input, beside its similar images.

    classes: names of all classes, which determine the colours of the frames. Raises `UserError` if `path`
    cannot be written.
    """
    lines = rows_of(len(queries[0].neighbours))
    figure, grid = _grid(lines * len(queries), PER_ROW + 2, TILE, caption=0.45, foot=0.4)
    _head(figure, f"Radiographs and the most similar labelled training images, nearest first. {NOTICE}")
    for ax in grid.flat:
        ax.set_axis_off()
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(classes)}
    for start, query in zip(range(0, len(grid), lines), queries, strict=True):
        side = len(query.seen)
        _tile(grid[start, 0], query.image, _short(query.name, 22))
        _tile(grid[start, 1], query.seen, f"input of the model:\n{side} x {side} pixels")
        cells = grid[start : start + lines, 2:].ravel()
        shown = zip(cells, query.neighbours, query.classes, query.captions, strict=False)
        for ax, image, name, caption in shown:
            _tile(ax, image, caption, colours[name])
    handles = [Patch(facecolor=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False)
    _save(figure, path)


def rows_of(count: int) -> int:
    """The number of rows that `count` neighbours take."""
    return -(-count // PER_ROW)


def _grid(rows: int, columns: int, side: float, caption: float, foot: float) -> tuple[Figure, np.ndarray]:
    """A figure and its (rows, columns) square axes. side, caption, foot: inches. Positions are computed here,
    since Matplotlib's layout of a hundred axes takes seconds."""
    width, height = columns * (side + GAP) + GAP, 0.4 + rows * (caption + side) + foot
    figure = Figure(figsize=(width, height))
    layout = {
        "left": GAP / width,
        "right": 1 - GAP / width,
        "top": 1 - (0.4 + caption) / height,
        "bottom": foot / height,
        "wspace": GAP / side,
        "hspace": caption / side,
    }
    return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw=layout)


def _head(figure: Figure, title: str) -> None:
    figure.suptitle(title, y=1 - 0.1 / figure.get_figheight(), va="top")


def _tile(ax: Axes, image: np.ndarray, caption: str, frame: str | None = None) -> None:
    ax.set_axis_on()
    show_image(ax, image, frame=frame)
    ax.set_title(caption, fontsize=9)


def _short(name: str, longest: int) -> str:
    """`name` with its middle left out if it is too long."""
    half = longest // 2
    return name if len(name) <= longest else f"{name[: half - 1]}…{name[-half:]}"


def _save(figure: Figure, path: Path) -> None:
    try:
        save_figure(figure, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        figure.clear()  # frees the images now: figure and axes refer to each other
