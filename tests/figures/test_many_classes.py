"""Eleven classes with long names: no legend, title or label is cut off by the edge, and no two have one
colour."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from cxr.figures import charts
from cxr.figures.clinical import draw_clinical
from cxr.figures.embedding_map import EmbeddingMap, draw_map
from cxr.figures.evaluation import confusion_matrix
from cxr.figures.style import COLOURS, shortened
from tests.pictures import recorded

NAMES = [f"interstitial tissue of the kind {letter}" for letter in "abcdefghijk"]


def cut_off(figure: Figure) -> list[str]:
    """The texts that are not wholly within the figure."""
    legends = [legend for ax in figure.axes if (legend := ax.get_legend())]
    found = [text for legend in legends for text in legend.get_texts()]
    for ax in figure.axes:
        low, high = sorted(ax.get_ylim())
        found += [ax.title, *(tick for tick in ax.get_yticklabels() if low <= tick.get_position()[1] <= high)]
    found += [figure._suptitle] if figure._suptitle else []  # Matplotlib has no public way to it
    frame = figure.bbox.padded(1)
    boxes = {text.get_text(): text.get_window_extent() for text in found if text.get_text()}
    return [
        text
        for text, box in boxes.items()
        if not (frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1))
    ]


def map_of_classes(path: Path, names: list[str]) -> None:
    generator, labels = np.random.default_rng(0), np.arange(110) % 11
    queries = np.arange(110) % 2 == 0
    shown = EmbeddingMap(generator.normal(size=(110, 2)), labels, queries, queries, names)
    draw_map(path, shown, "Title")


def reliability(path: Path, names: list[str]) -> None:
    levels = np.array([0.2, 0.8])
    curve = charts.ReliabilityDiagram("by", levels, levels, levels, levels, np.array([3, 4]), 2, levels)
    title = f"Radiographs weighted to {', '.join(f'9% {name}' for name in names)}"
    charts.reliability_diagrams(path, [curve] * 3, title, ("x", "y"))


DRAWN = {
    "counts": lambda path: charts.class_counts(
        path, {split: dict.fromkeys(NAMES, 9_000) for split in ("train", "val", "test")}, "Title"
    ),
    "projection": lambda path: charts.projection(
        path, np.random.default_rng(0).normal(size=(220, 3)), np.array(2 * NAMES * 10), NAMES
    ),
    "map": lambda path: map_of_classes(path, NAMES),
    "map of short names": lambda path: map_of_classes(path, list("abcdefghijk")),
    "reliability": lambda path: reliability(path, NAMES),
    "confusion": lambda path: confusion_matrix(path, np.full((3, 3), 1_000), NAMES[:3], "Title"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_cut_off(tmp_path, name):
    with recorded() as saved:
        DRAWN[name](tmp_path / "p.png")
    picture = saved["p.png"]
    assert cut_off(picture.figure) == []
    if name == "map":  # its legend below is not so wide that the axes have to shrink
        assert sum(panel.box[2] for panel in picture.panels) > 0.8 * picture.pixels.shape[1]


def test_every_class_has_a_colour_of_its_own():
    assert len({colour.upper() for colour in COLOURS}) == len(COLOURS) >= len(NAMES)


def test_shortened_names_keep_their_ends():
    assert shortened("interstitial_0", 14) == "interstitial_0"
    assert shortened("interstitial_12", 14) == "interst...l_12"
    assert len(shortened(NAMES[0], 13)) == 13
    assert shortened(NAMES[0], 13) != shortened(NAMES[1], 13)


def test_without_two_classes_a_sentence_says_why_there_are_no_predictive_values(tmp_path):
    with recorded() as saved:
        draw_clinical(tmp_path / "p.png", [], [], [], "")
    figure = saved["p.png"].figure
    assert figure.axes == []
    assert [text.get_text() for text in figure.texts] == [
        "Predictive values and decision curves are for two classes."
    ]
