"""Pictures for a person who asks about radiographs of their own: where the classifier looks, and similar
cases.

Radiographs are shown at full resolution (their centre square), beside what the model gets to see of them.
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
from cxr.figures.radiographs import show_image
from cxr.figures.style import COLOURS, HEAT, save_figure
from cxr.reports.disclaimer import NOTICE

ROWS = 20  # in one picture: more take long to lay out, and nobody scrolls through them
PER_ROW = 5  # neighbours
# inches: a radiograph that is explained, a radiograph among its neighbours, between radiographs
SIDE = 4.6
TILE = 1.85
GAP = 0.1


@dataclass(frozen=True)
class Explained:
    """A decision and what speaks for it.

    radiograph: (S, S) uint8, the centre square. seen: (size, size) uint8, what the model gets. heat: (size,
    size) float32 in [0, 1]. decision: the class, of that probability.
    """

    name: str
    image: np.ndarray
    seen: np.ndarray
    heat: np.ndarray
    decision: str
    probability: float


@dataclass(frozen=True)
class SimilarImages:
    """A radiograph and the cases most similar to it, nearest first.

    radiograph, seen: as for `Explained`. cases: k radiographs, (size, size) uint8, with their classes and
    captions.
    """

    name: str
    image: np.ndarray
    seen: np.ndarray
    cases: Sequence[np.ndarray]
    classes: Sequence[str]
    captions: Sequence[str]


def explanation_figure(path: Path, images: Sequence[Explained]) -> None:
    """A row for each radiograph: itself, with the map laid over it, and as the model sees it.

    Raises `UserError` if `path` cannot be written.
    """
    figure, grid = _grid(len(images), 3, SIDE, caption=0.35, foot=0.8)
    _head(figure, f"Grad-CAM: what speaks for the decision. {NOTICE}")
    for axes, each in zip(grid, images, strict=True):
        for ax in axes[:2]:
            show_image(ax, each.image)
        _lay_over(axes[1], each.heat, len(each.image))
        show_image(axes[2], each.seen)
        speaks = "what speaks" if each.heat.any() else "nothing speaks"
        axes[0].set_title(f"{_short(each.name, 30)} (centre square)")
        axes[1].set_title(f"{speaks} for {each.decision}: p = {each.probability:.3f}")
        axes[2].set_title(f"what the model sees: {len(each.seen)} x {len(each.seen)} pixels")
    height = figure.get_figheight()
    figure.colorbar(
        ScalarMappable(Normalize(0, 1), HEAT),
        cax=figure.add_axes((0.35, 0.5 / height, 0.3, 0.15 / height)),
        orientation="horizontal",
        label="share of the map's own maximum; the lower, the more see-through",
    )
    _save(figure, path)


def neighbour_figure(path: Path, images: Sequence[SimilarImages], classes: Sequence[str]) -> None:
    """Each radiograph, as its file holds it and as the model sees it, beside its similar cases.

    classes: names of all classes, which decide the colours of frames. Raises `UserError` if `path` cannot be
    written.
    """
    lines = rows_of(len(images[0].cases))
    figure, grid = _grid(lines * len(images), PER_ROW + 2, TILE, caption=0.45, foot=0.4)
    _head(figure, f"Radiographs and the most similar labelled training images, nearest first. {NOTICE}")
    for ax in grid.flat:
        ax.set_axis_off()
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(classes)}
    for start, each in zip(range(0, len(grid), lines), images, strict=True):
        _tile(grid[start, 0], each.image, _short(each.name, 22))
        _tile(grid[start, 1], each.seen, f"as the model sees it:\n{len(each.seen)} x {len(each.seen)} pixels")
        cells = grid[start : start + lines, 2:].ravel()
        for ax, case, name, caption in zip(cells, each.cases, each.classes, each.captions, strict=False):
            _tile(ax, case, caption, colours[name])
    handles = [Patch(facecolor=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False)
    _save(figure, path)


def rows_of(count: int) -> int:
    """Rows that `count` neighbours take."""
    return -(-count // PER_ROW)


def _grid(rows: int, columns: int, side: float, caption: float, foot: float) -> tuple[Figure, np.ndarray]:
    """A figure and its (rows, columns) square axes. All in inches; placed by hand, since letting Matplotlib
    lay out a hundred axes takes seconds."""
    width, height = columns * (side + GAP) + GAP, 0.4 + rows * (caption + side) + foot
    figure = Figure(figsize=(width, height))
    places = {
        "left": GAP / width,
        "right": 1 - GAP / width,
        "top": 1 - (0.4 + caption) / height,
        "bottom": foot / height,
        "wspace": GAP / side,
        "hspace": caption / side,
    }
    return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw=places)


def _head(figure: Figure, title: str) -> None:
    figure.suptitle(title, y=1 - 0.1 / figure.get_figheight(), va="top")


def _lay_over(ax: Axes, heat: np.ndarray, side: int) -> None:
    """Draw a map of any size over a radiograph of `side` pixels: clear where nothing speaks for the
    decision."""
    edges = (-0.5, side - 0.5, side - 0.5, -0.5)
    ax.imshow(heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.6 * heat, extent=edges, interpolation="bilinear")


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
