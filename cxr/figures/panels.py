"""Figures of single cases in titled sections: radiographs side by side, with captions and class activation
maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from cxr.figures.radiographs import MAP_SCALE, show_image, show_map
from cxr.figures.style import HEAT, save_figure

# inches: the side of an image, the caption above it, a section's title, the colour bar
TILE, CAPTION, TITLE, BAR = 1.3, 0.42, 0.35, 0.8


@dataclass(frozen=True)
class Tile:
    """image: (H, W) uint8. frame: the colour of a border. activation: (h, w) float32 in [0, 1], a map over
    it."""

    image: np.ndarray
    caption: str
    frame: str | None = None
    activation: np.ndarray | None = None


Case = Sequence[Tile]


def sections(
    path: Path | str, cases: Mapping[str, Sequence[Case]], title: str, per_row: int, without: str = ""
) -> None:
    """A section for each key of `cases`, the tiles of a case side by side, `per_row` cases in a row; below
    them a colour bar if there are maps. without: the sentence that is shown if there are no cases.
    """
    if not cases:
        figure = Figure(figsize=(11, 1.5), layout="constrained")
        figure.suptitle(title)
        figure.text(0.5, 0.15, without, ha="center")
        save_figure(figure, path)
        return
    rows = {name: -(-len(of_section) // per_row) for name, of_section in cases.items()}
    tiles = max(len(case) for of_section in cases.values() for case in of_section)
    maps = any(
        tile.activation is not None for of_section in cases.values() for case in of_section for tile in case
    )
    heights = [TITLE + (TILE + CAPTION) * count for count in rows.values()]
    width = per_row * (tiles + 0.2) * TILE
    figure = Figure(figsize=(width, 0.75 + sum(heights) + maps * BAR), layout="constrained")
    figure.suptitle(title)
    ratios = [*heights, BAR] if maps else heights
    parts = figure.subfigures(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0]
    for part, (name, of_section) in zip(parts, cases.items(), strict=False):
        part.suptitle(name, fontsize=11, fontweight="bold", x=0.01, ha="left")
        # A narrow empty column sets the cases apart.
        widths = ([1.0] * tiles + [0.2]) * per_row
        grid = part.subplots(rows[name], len(widths), width_ratios=widths, squeeze=False)
        for ax in grid.flat:
            ax.set_axis_off()
        for number, case in enumerate(of_section):
            row, column = divmod(number, per_row)
            for offset, tile in enumerate(case):
                _draw(grid[row, column * (tiles + 1) + offset], tile)
    if maps:
        parts[-1].colorbar(
            ScalarMappable(Normalize(0, 1), HEAT),
            cax=parts[-1].add_axes((0.3, 0.6, 0.4, 0.2)),
            orientation="horizontal",
            label=MAP_SCALE,
        )
    save_figure(figure, path)


def _draw(ax: Axes, tile: Tile) -> None:
    ax.set_axis_on()
    if tile.activation is None:
        show_image(ax, tile.image, frame=tile.frame)
    else:
        show_map(ax, tile.image, tile.activation, frame=tile.frame)
    ax.set_title(tile.caption, fontsize=9)
