"""The differences between two runs and the radiographs whose decision changed, as one figure for review."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cxr.commands.compare.comparison import Comparison, flips
from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.errors import UserError
from cxr.core.files import read_csv
from cxr.evaluation.delong import LOWER_IS_BETTER
from cxr.figures import style
from cxr.figures.differences import MetricDifference, draw_differences
from cxr.figures.radiographs import show_image
from cxr.figures.style import save_figure
from cxr.inference.predictions import DIGITS, check_predictions

Images = np.ndarray | Mapping[int, np.ndarray]

COLUMNS = 6
SHOWN = 48  # of each direction; `cxr compare --json` lists all
# The direction of a change, as `Comparison` names it: the side that misclassifies, title, colour.
DIRECTIONS = {
    "newly_misclassified": ("b", "Newly misclassified (right in A, wrong in B)", style.COLOURS[1]),
    "newly_correct": ("a", "Newly correct (wrong in A, right in B)", style.COLOURS[0]),
}


def draw_contact_sheet(path: Path | str, split: Comparison, images: Images) -> None:
    """A PNG of the differences in all metrics, and of the radiographs of `split` with another decision in B
    than in A, the greatest change of probability first. images: (H, W) uint8 each, by row of the data set."""
    changed = {direction: flips(split, getattr(split, direction)) for direction in DIRECTIONS}
    lines = [max(1, -(-len(listed[:SHOWN]) // COLUMNS)) for listed in changed.values()]
    heights = [0.5 + 2.35 * n if listed else 0.7 for n, listed in zip(lines, changed.values(), strict=True)]
    heights = [1.2 + 0.3 * len(split.rows), *heights]
    figure = Figure(figsize=(1.6 * COLUMNS, 0.7 + sum(heights)), layout="constrained")
    figure.suptitle(
        f"{split.split}: difference between the means over members, and decisions of the ensembles that "
        "changed\n(p: probability of the true class)",
        fontsize=11,
    )
    above, *parts = np.asarray(figure.subfigures(3, 1, height_ratios=heights))
    draw_differences(
        above.subplots(),
        [
            MetricDifference(
                f"{row.metric} (lower is better)" if row.metric in LOWER_IS_BETTER else row.metric,
                row.estimate.difference,
                row.estimate.interval if row.estimate.testable else None,
                row.verdict,
            )
            for row in split.rows
        ],
        "B - A, with 95 % interval",
    )
    for part, count, (direction, listed) in zip(parts, lines, changed.items(), strict=True):
        wrong, title, colour = DIRECTIONS[direction]
        more = f", the {SHOWN} most changed" if len(listed) > SHOWN else ""
        part.suptitle(f"{title}: {len(listed):,}{more}", color=colour, weight="bold")
        if listed:
            _grid(part.subplots(count, COLUMNS, squeeze=False).ravel(), listed, wrong, images, colour)
    save_figure(figure, path)


def _grid(cells: np.ndarray, listed: list[dict[str, Any]], wrong: str, images: Images, colour: str) -> None:
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


def images_of(splits: list[Comparison]) -> Images:
    """The compared images from data/ of the working directory, (H, W) uint8 each, by row in A.

    Raises `UserError` if data/ is missing, or does not hold all of them.
    """
    data = load_dataset()
    if all(split.a.hashes is not None for split in splits):
        places = {row["sha256"][:DIGITS]: place for place, row in enumerate(read_csv(dataset.LABELS))}
        images = {}
        for split in splits:
            for row, digits in zip(split.a.rows.tolist(), np.asarray(split.a.hashes).tolist(), strict=True):
                if digits not in places:
                    raise UserError(
                        f"{dataset.LABELS}: without radiographs of {split.split} that are compared; run `dvc "
                        "repro split` with the params.yaml of A, or leave out --sheet"
                    )
                images[row] = data.images[places[digits]]
        return images
    try:
        for split in splits:
            check_predictions(split.a, data, split=split.split)
    except UserError as error:
        difference = str(error).partition(";")[0]
        raise UserError(
            f"{difference}; run `dvc repro split` with the params.yaml of that revision, or leave out --sheet"
        ) from None
    return data.images
