"""A class activation map covers its radiograph and leaves it unchanged where the map is 0."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cxr.figures.panels import Tile, sections
from cxr.figures.radiographs import show_image, show_map
from cxr.figures.style import save_figure


def drawn(path, activation: np.ndarray | None) -> np.ndarray:
    """(60, 60, 3) int16: a uniform grey radiograph that fills a figure, with a map over it."""
    figure = Figure(figsize=(0.6, 0.6))
    ax, image = figure.add_axes((0, 0, 1, 1)), np.full((20, 20), 100, np.uint8)
    if activation is None:
        show_image(ax, image)
    else:
        show_map(ax, image, activation)
    ax.set_axis_off()
    save_figure(figure, path)
    return np.asarray(Image.open(path).convert("RGB")).astype(np.int16)


def test_map_is_transparent_where_it_is_zero_and_covers_the_image(tmp_path):
    plain = drawn(tmp_path / "plain.png", None)
    assert np.array_equal(drawn(tmp_path / "zero.png", np.zeros((5, 5), np.float32)), plain)
    for size in (4, 20, 50):
        half = np.zeros((size, size), np.float32)
        half[:, size // 2 :] = 1
        changed = np.abs(drawn(tmp_path / "half.png", half) - plain).max(axis=2)
        assert (changed[:, :15] == 0).all(), size
        assert (changed[:, 45:] > 50).all(), size


def test_sections_are_drawn_with_and_without_maps_and_cases(tmp_path):
    image = np.full((20, 20), 100, np.uint8)
    tiles = [
        Tile(image, "plain", frame="#000000"),
        Tile(image, "map", activation=np.eye(5, dtype=np.float32)),
    ]
    heights = []
    for name, cases in (("maps", {"a": [tiles] * 3}), ("plain", {"a": [tiles[:1]] * 3}), ("none", {})):
        sections(tmp_path / f"{name}.png", cases, "Title", per_row=2, without="There are no cases.")
        heights.append(Image.open(tmp_path / f"{name}.png").height)
    assert heights[0] > heights[1] > heights[2] > 100  # a colour bar, no colour bar, a sentence
