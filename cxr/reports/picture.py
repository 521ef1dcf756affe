"""One case as a picture: the film, where the classifier looks, and the films of the gallery most like it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cxr import figures
from cxr.panels import HEAT
from cxr.reports.case import Case

COLUMNS = 3  # of neighbours


def draw(path: Path, case: Case, neighbours: Sequence[np.ndarray]) -> None:
    """A PNG at `path`. neighbours: the (S, S) uint8 films of `case.neighbours`.

    Nothing in it depends on the film's label: frames in the colour of the true class would tell it.
    """
    lines = -(-len(neighbours) // COLUMNS)
    figure = Figure(figsize=(9.6, 3.3), layout="constrained")
    large, small = figure.subfigures(1, 2, width_ratios=(5.6, 4))
    film, heat = large.subplots(1, 2)
    figures.show_film(film, case.film)
    film.set_title(f"the film, {case.size} x {case.size} pixels", fontsize=10)
    figures.show_film(heat, case.film)
    heat.imshow(case.heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.5, interpolation="antialiased")
    heat.set_title(f"Grad-CAM: what speaks for {case.decision}\n(yellow most, violet nothing)", fontsize=10)
    small.suptitle(f"most similar films of the gallery ({case.metric})", fontsize=10)
    grid = small.subplots(lines, COLUMNS, squeeze=False).ravel()
    for ax in grid[len(neighbours) :]:
        ax.set_axis_off()
    for ax, image, neighbour in zip(grid, neighbours, case.neighbours, strict=False):
        figures.show_film(ax, image)
        ax.set_title(f"{neighbour.name} {neighbour.value:.3f}", fontsize=9)
    figures.save(figure, path)
