"""The radiographs whose decision changed between two runs, as one figure for visual review."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cxr.commands.compare.comparison import SPLITS, Comparison, flips
from cxr.core.dataset import load_dataset
from cxr.core.errors import UserError
from cxr.figures import style
from cxr.figures.radiographs import show_image
from cxr.figures.style import save_figure
from cxr.inference.predictions import Predictions, check_predictions

COLUMNS = 6
SHOWN = 48  # of each direction; `cxr compare --json` lists all
# The direction of a change, as `Comparison` names it: the side that misclassifies, title, colour.
DIRECTIONS = {
    "newly_misclassified": ("b", "Newly misclassified (right in A, wrong in B)", style.COLOURS[1]),
    "newly_correct": ("a", "Newly correct (wrong in A, right in B)", style.COLOURS[0]),
}


def draw_contact_sheet(path: Path | str, split: Comparison, images: np.ndarray) -> None:
    """A PNG of the radiographs of `split` with another decision in B than in A, the greatest change of
    probability first. images: (N, H, W) uint8, by row of the data set."""
    changed = {direction: flips(split, getattr(split, direction)) for direction in DIRECTIONS}
    lines = [max(1, -(-len(listed[:SHOWN]) // COLUMNS)) for listed in changed.values()]
    heights = [0.5 + 2.35 * n if listed else 0.7 for n, listed in zip(lines, changed.values(), strict=True)]
    figure = Figure(figsize=(1.6 * COLUMNS, 0.5 + sum(heights)), layout="constrained")
    figure.suptitle(f"Decisions on {split.split} that changed from A to B; p: probability of the true class")
    parts = np.asarray(figure.subfigures(2, 1, height_ratios=heights))
    for part, count, (direction, listed) in zip(parts, lines, changed.items(), strict=True):
        wrong, title, colour = DIRECTIONS[direction]
        more = f", the {SHOWN} most changed" if len(listed) > SHOWN else ""
        part.suptitle(f"{title}: {len(listed):,}{more}", color=colour, weight="bold")
        if listed:
            _grid(part.subplots(count, COLUMNS, squeeze=False).ravel(), listed, wrong, images, colour)
    save_figure(figure, path)


def _grid(
    cells: np.ndarray, listed: list[dict[str, Any]], wrong: str, images: np.ndarray, colour: str
) -> None:
    for ax in cells:
        ax.set_axis_off()
    for ax, flip in zip(cells, listed[:SHOWN], strict=False):
        ax.set_axis_on()
        show_image(ax, images[flip["row"]], frame=colour)
        ax.set_title(
            f"row {flip['row']}\ntrue class: {flip['label']}\n{wrong.upper()}: {flip[f'decision_{wrong}']}\n"
            f"p {flip['p_label_a']:.2f} → {flip['p_label_b']:.2f}",
            fontsize=9,
        )


def images_of(predictions: Predictions) -> np.ndarray:
    """data/images.npy of the working directory, (N, H, W) uint8.

    Raises `UserError` if it is missing, or if `predictions` are not about the val and test radiographs of
    data/labels.csv.
    """
    data = load_dataset()
    try:
        for split in SPLITS:
            check_predictions(predictions, data, split=split)
    except UserError as error:
        difference = str(error).partition(";")[0]
        raise UserError(
            f"{difference}; run `dvc repro split` with the params.yaml of that revision, or leave out --sheet"
        ) from None
    return data.images
