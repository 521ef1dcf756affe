"""The radiographs whose decision changed between two runs, as one picture that a reviewer can judge by
eye."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cxr.commands.compare.comparison import Comparison, flips
from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.errors import UserError
from cxr.figures import style
from cxr.figures.radiographs import show_image
from cxr.figures.style import save_figure
from cxr.inference.predictions import Predictions

COLUMNS = 6
SHOWN = 48  # each way; the JSON of `cxr compare` has them all
WAYS = {
    "newly_misclassified": ("Right in A, wrong in B", style.COLOURS[1]),
    "newly_correct": ("Wrong in A, right in B", style.COLOURS[0]),
}


def draw_contact_sheet(path: Path | str, split: Comparison, images: np.ndarray) -> None:
    """A PNG of `split`'s flipped radiographs, the greatest change first. images: (N, H, W) uint8, by row
    number."""
    methods = {way: flips(split, getattr(split, way)) for way in WAYS}
    lines = [max(1, -(-len(radiographs[:SHOWN]) // COLUMNS)) for radiographs in methods.values()]
    heights = [
        0.5 + 2.35 * n if radiographs else 0.7 for n, radiographs in zip(lines, methods.values(), strict=True)
    ]
    figure = Figure(figsize=(1.6 * COLUMNS, 0.5 + sum(heights)), layout="constrained")
    figure.suptitle(f"Decisions on {split.split} that changed from A to B; p: probability of the true class")
    parts = np.asarray(figure.subfigures(2, 1, height_ratios=heights))
    for part, count, (way, radiographs) in zip(parts, lines, methods.items(), strict=True):
        title, colour = WAYS[way]
        more = f", the {SHOWN} most changed" if len(radiographs) > SHOWN else ""
        part.suptitle(f"{title}: {len(radiographs):,}{more}", color=colour, weight="bold")
        if radiographs:
            _grid(part.subplots(count, COLUMNS, squeeze=False).ravel(), radiographs, way, images, colour)
    save_figure(figure, path)


def _grid(
    cells: np.ndarray, radiographs: list[dict[str, Any]], way: str, images: np.ndarray, colour: str
) -> None:
    for ax in cells:
        ax.set_axis_off()
    for ax, image in zip(cells, radiographs[:SHOWN], strict=False):
        ax.set_axis_on()
        show_image(ax, images[image["row"]], frame=colour)
        called = f"B: {image['decision_b']}" if way == "newly_misclassified" else f"A: {image['decision_a']}"
        ax.set_title(
            f"row {image['row']}\ntruth: {image['truth']}\n{called}\n"
            f"p {image['p_truth_a']:.2f} → {image['p_truth_b']:.2f}",
            fontsize=9,
        )


def images(predictions: Predictions) -> np.ndarray:
    """data/images.npy of the working directory, (N, H, W) uint8.

    Raises `UserError` if it is not there, or if data/labels.csv says that its rows are other radiographs than
    those that `predictions` speaks of.
    """
    for path in (dataset.IMAGES, dataset.LABELS):
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; run `dvc repro split` to draw radiographs, or leave out --sheet"
            )
    data, rows = load_dataset(), predictions.rows
    known = min(len(data.images), len(data.labels))
    if (
        data.classes != predictions.classes
        or rows.min() < 0
        or rows.max() >= known
        or not np.array_equal(data.labels[rows], predictions.labels)
        or not np.array_equal(data.splits[rows], predictions.splits)
    ):
        raise UserError(
            f"{dataset.LABELS}: its rows are not the radiographs of metrics/predictions.csv (other rows, splits or "
            "classes); run `dvc repro split` with the params.yaml of that revision"
        )
    return data.images
