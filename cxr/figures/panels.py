"""Pictures of single cases: images in titled sections, each with what is to be seen beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from cxr.figures.radiographs import show_image, show_map
from cxr.figures.style import HEAT, save_figure

# inches: a side of an image, what a case's caption takes above it, a section's title, the colour bar
TILE, CAPTION, TITLE, BAR = 1.3, 0.42, 0.35, 0.8


@dataclass(frozen=True)
class Tile:
    """image: (H, W) uint8. frame: a border's colour. heat: (H, W) float32 in [0, 1], laid over the image."""

    image: np.ndarray
    caption: str
    frame: str | None = None
    heat: np.ndarray | None = None


Case = Sequence[Tile]


def sections(
    path: Path | str, cases: Mapping[str, Sequence[Case]], title: str, per_row: int, scale: str | None = None
) -> None:
    """A section for each key of `cases`, the tiles of a case side by side, `per_row` cases in a row.

    scale: the label of a colour bar, for overlays.
    """
    rows = {name: -(-len(found) // per_row) for name, found in cases.items()}
    tiles = max((len(case) for found in cases.values() for case in found), default=2)
    heights = [TITLE + (TILE + CAPTION) * count for count in rows.values()]
    width = per_row * (tiles + 0.2) * TILE
    figure = Figure(figsize=(width, 0.75 + sum(heights) + bool(scale) * BAR), layout="constrained")
    figure.suptitle(title)
    if not cases:
        figure.text(0.5, 0.4, "no radiograph", ha="center")
        save_figure(figure, path)
        return
    ratios = [*heights, BAR] if scale else heights
    parts = figure.subfigures(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0]
    for part, (name, found) in zip(parts, cases.items(), strict=False):
        part.suptitle(name, fontsize=11, fontweight="bold", x=0.01, ha="left")
        # A narrow empty column sets the cases apart.
        widths = ([1.0] * tiles + [0.2]) * per_row
        grid = part.subplots(rows[name], len(widths), width_ratios=widths, squeeze=False)
        for ax in grid.flat:
            ax.set_axis_off()
        for number, case in enumerate(found):
            row, column = divmod(number, per_row)
            for offset, tile in enumerate(case):
                _draw(grid[row, column * (tiles + 1) + offset], tile)
    if scale:
        heat = ScalarMappable(Normalize(0, 1), HEAT)
        parts[-1].colorbar(
            heat, cax=parts[-1].add_axes((0.3, 0.6, 0.4, 0.2)), orientation="horizontal", label=scale
        )
    save_figure(figure, path)


def _draw(ax: Axes, tile: Tile) -> None:
    ax.set_axis_on()
    if tile.heat is None:
        show_image(ax, tile.image, frame=tile.frame)
    else:
        show_map(ax, tile.image, tile.heat, frame=tile.frame)
    ax.set_title(tile.caption, fontsize=9)
