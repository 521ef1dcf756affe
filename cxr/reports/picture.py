"""One case as a picture: the film, where the classifier looks, and the films of the gallery most like it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxr import figures
from cxr.panels import HEAT
from cxr.reports.case import Case

# Inches. Places are fixed: a layout by what they hold would take longer than all the rest.
WIDTH, HEIGHT, EDGE = 9.6, 3.2, 0.1
LARGE, SMALL, CAPTION = 2.6, 1.1, 0.22
LINES, COLUMNS = 2, 3  # of neighbours


def draw(path: Path, case: Case, neighbours: Sequence[np.ndarray]) -> None:
    """A PNG at `path`. neighbours: the (S, S) uint8 films of `case.neighbours`.

    Nothing in it depends on the film's label: frames in the colour of the true class would tell it.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    film = _place(figure, EDGE, EDGE, LARGE)
    figures.show_film(film, case.film)
    film.set_title(f"the film, {case.size} x {case.size} pixels", fontsize=10)
    heat = _place(figure, LARGE + 2 * EDGE, EDGE, LARGE)
    figures.show_film(heat, case.film)
    heat.imshow(case.heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.5, interpolation="antialiased")
    heat.set_title(f"Grad-CAM: what speaks for {case.decision}\n(yellow most, violet nothing)", fontsize=10)
    start, step = 2 * LARGE + 4 * EDGE, SMALL + CAPTION
    heading = (start / WIDTH, (LINES * step + 2 * EDGE) / HEIGHT)
    figure.text(*heading, f"most similar films of the gallery, {case.metric}", fontsize=10)
    for place, (image, neighbour) in enumerate(zip(neighbours, case.neighbours, strict=True)):
        line, column = divmod(place, COLUMNS)
        ax = _place(figure, start + column * (SMALL + EDGE), EDGE + (LINES - 1 - line) * step, SMALL)
        figures.show_film(ax, image)
        ax.set_title(f"{neighbour.name} {neighbour.value:.3f}", fontsize=8, pad=3)
    figures.save(figure, path)


def _place(figure: Figure, left: float, bottom: float, side: float) -> Axes:
    """A square of `side` inches."""
    return figure.add_axes((left / WIDTH, bottom / HEIGHT, side / WIDTH, side / HEIGHT))
