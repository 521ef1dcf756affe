"""One case as a picture: the image, where the classifier looks, and the images of the gallery most like
it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxr.figures.radiographs import show_image, show_map
from cxr.figures.style import save_figure

# Inches. Places are fixed: a layout by what they hold would take longer than all the rest.
WIDTH, HEIGHT, EDGE = 9.6, 3.2, 0.1
LARGE, SMALL, CAPTION = 2.6, 1.1, 0.22
LINES, COLUMNS = 2, 3  # of neighbours


def draw_case(
    path: Path,
    image: np.ndarray,
    heat_map: np.ndarray,
    decision: str,
    neighbours: Sequence[tuple[np.ndarray, str]],
    metric: str,
) -> None:
    """A PNG at `path`. image: (S, S) uint8. heat_map: (S, S) float32 from 0 to 1, the Grad-CAM of the class
    `decision`. neighbours: (S, S) uint8 images, each with its caption. metric: what the captions' values are.

    Nothing in it depends on the image's label: frames in the colour of the true class would tell it.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    radiograph = _place(figure, EDGE, EDGE, LARGE)
    show_image(radiograph, image)
    radiograph.set_title(f"the radiograph, {len(image)} x {len(image)} pixels", fontsize=10)
    heat = _place(figure, LARGE + 2 * EDGE, EDGE, LARGE)
    show_map(heat, image, heat_map)
    heat.set_title(f"Grad-CAM: what speaks for {decision}\n(yellow most, violet nothing)", fontsize=10)
    start, step = 2 * LARGE + 4 * EDGE, SMALL + CAPTION
    heading = (start / WIDTH, (LINES * step + 2 * EDGE) / HEIGHT)
    figure.text(*heading, f"most similar radiographs of the gallery, {metric}", fontsize=10)
    for place, (near, caption) in enumerate(neighbours):
        line, column = divmod(place, COLUMNS)
        ax = _place(figure, start + column * (SMALL + EDGE), EDGE + (LINES - 1 - line) * step, SMALL)
        show_image(ax, near)
        ax.set_title(caption, fontsize=8, pad=3)
    save_figure(figure, path)


def _place(figure: Figure, left: float, bottom: float, side: float) -> Axes:
    """A square of `side` inches."""
    return figure.add_axes((left / WIDTH, bottom / HEIGHT, side / WIDTH, side / HEIGHT))
