"""The figure of one case: its radiograph, the class activation map, and its nearest neighbours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxr.figures.radiographs import show_image, show_map
from cxr.figures.style import save_figure, shortened

# Inches. Positions are fixed: an automatic layout would take longer than everything else.
WIDTH, HEIGHT, EDGE = 9.6, 3.2, 0.1
LARGE, SMALL, CAPTION = 2.6, 1.1, 0.22
LINES, COLUMNS = 2, 3  # of neighbours


def draw_case(
    path: Path,
    image: np.ndarray,
    activation: np.ndarray,
    decision: str,
    neighbours: Sequence[tuple[np.ndarray, str]],
    metric: str,
) -> None:
    """A PNG at `path`. image: (S, S) uint8. activation: (S, S) float32 in [0, 1], the Grad-CAM of the
    class `decision`. neighbours: (S, S) uint8 images, each with its caption. metric: the name of the values
    in the captions.

    Nothing in the figure depends on the label, so there are no frames in the colour of the true class.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    radiograph = _place(figure, EDGE, EDGE, LARGE)
    show_image(radiograph, image)
    radiograph.set_title(f"Radiograph, {len(image)} x {len(image)} pixels", fontsize=10)
    overlay = _place(figure, LARGE + 2 * EDGE, EDGE, LARGE)
    show_map(overlay, image, activation)
    title = f"Grad-CAM of {shortened(decision, 26)}"
    overlay.set_title(f"{title}\n(yellow: maximum, transparent: 0)", fontsize=10)
    start, step = 2 * LARGE + 4 * EDGE, SMALL + CAPTION
    heading = (start / WIDTH, (LINES * step + 2 * EDGE) / HEIGHT)
    figure.text(*heading, f"Nearest neighbours in the gallery, {metric}", fontsize=10)
    for number, (neighbour, caption) in enumerate(neighbours):
        line, column = divmod(number, COLUMNS)
        ax = _place(figure, start + column * (SMALL + EDGE), EDGE + (LINES - 1 - line) * step, SMALL)
        show_image(ax, neighbour)
        ax.set_title(caption, fontsize=8, pad=3)
    save_figure(figure, path)


def _place(figure: Figure, left: float, bottom: float, side: float) -> Axes:
    """A square of `side` inches."""
    return figure.add_axes((left / WIDTH, bottom / HEIGHT, side / WIDTH, side / HEIGHT))
