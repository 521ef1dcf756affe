"""A class activation map covers its radiograph and leaves it unchanged where the map is 0."""

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from cxr.figures.panels import Tile, sections
from cxr.figures.radiographs import Neighbours, neighbour_rows, sample_grid, show_image, show_map
from cxr.figures.style import HEAT, MARKED, PLAIN, save_figure
from tests.pictures import cornered, is_grey, recorded


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


def large(image: np.ndarray, activation: np.ndarray | None, path, frame: str | None = None) -> np.ndarray:
    """(H, W, 3) int: the PNG of a radiograph, 20 pixels for each of its own, under a map or not."""
    side = len(image) / 5
    figure = Figure(figsize=(side, side))
    ax = figure.add_axes((0, 0, 1, 1))
    if activation is None:
        show_image(ax, image, frame=frame)
    else:
        show_map(ax, image, activation, frame=frame)
    save_figure(figure, path)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_a_radiograph_is_shown_upright_with_its_own_grey_levels(tmp_path):
    image = cornered(8, background=60, corner=200)  # neither black nor white
    pixels = large(image, None, tmp_path / "image.png")
    assert is_grey(pixels[10::20, 10::20], image)


def test_a_map_lies_on_its_location_in_its_own_values(tmp_path):
    image = np.full((8, 8), 100, np.uint8)
    activation = np.zeros((8, 8), np.float32)
    activation[:3, :6] = 0.5  # upper left, wider than high; nowhere 1
    pixels = large(image, activation, tmp_path / "map.png")
    inside, outside = pixels[:40, :100], np.concatenate([pixels[80:].ravel(), pixels[:, 140:].ravel()])
    assert set(outside.tolist()) == {100}
    expected = 0.3 * 255 * np.array(colormaps[HEAT](0.5)[:3]) + 0.7 * 100
    np.testing.assert_allclose(inside.reshape(-1, 3), np.tile(expected, (inside.size // 3, 1)), atol=2)
    # Half-way between the last pixel of the map, at 5 + 1/2, and the next one.
    edge = np.abs(pixels[20] - 100).max(axis=1) > 10
    assert np.flatnonzero(edge).max() == pytest.approx(120, abs=6)
    assert np.flatnonzero(np.abs(pixels[:, 20] - 100).max(axis=1) > 10).max() == pytest.approx(60, abs=6)


def test_high_values_of_a_map_are_brighter_than_low_ones(tmp_path):
    image, ramp = np.zeros((8, 8), np.uint8), np.tile(np.linspace(0.2, 1, 8, dtype=np.float32), (8, 1))
    brightness = large(image, ramp, tmp_path / "ramp.png")[10::20, 10::20].sum(axis=2)
    assert (np.diff(brightness, axis=1) > 0).all()


def test_a_frame_has_its_colour(tmp_path):
    for colour, rgb in ((MARKED, (204, 121, 167)), (PLAIN, (0, 0, 0)), (None, None)):
        for activation in (None, np.zeros((8, 8), np.float32)):
            pixels = large(np.full((8, 8), 100, np.uint8), activation, tmp_path / "frame.png", frame=colour)
            assert tuple(pixels[80, 0]) == (rgb or (100, 100, 100))
            assert tuple(pixels[0, 80]) == (rgb or (100, 100, 100))


def test_neighbours_are_shown_in_order_each_with_its_class_and_frame(tmp_path):
    levels, classes = (40, 80, 120), ("sick", "normal", "sick")
    row = Neighbours(
        "query 7",
        cornered(8),
        "sick",
        [cornered(8, level, 250) for level in levels],
        classes,
        (0.75, 0.5, 0.25),
    )
    with recorded() as saved:
        neighbour_rows(tmp_path / "rows.png", [row], "Title", "cosine")
    query, *shown = saved["rows.png"].panels
    assert query.title == "query 7\nsick"
    assert is_grey(query.shown(8), cornered(8))
    for panel, level, name, value in zip(shown, levels, classes, row.values, strict=True):
        assert panel.title == f"{name}\ncosine {value:#.4g}"
        assert is_grey(panel.shown(8)[1:-1, 1:-1], cornered(8, level, 250)[1:-1, 1:-1])
        assert panel.framed(PLAIN) == (name == "sick")
        assert panel.framed(MARKED) == (name == "normal")
    assert (
        "black = same class as the query, purple = another class" in saved["rows.png"].figure.get_suptitle()
    )


def test_samples_are_the_first_of_their_class_and_split(tmp_path):
    labels = np.array([0, 1] * 20)
    splits = np.repeat(["test", "train"], 20)
    images = np.broadcast_to((5 * np.arange(40, dtype=np.uint8))[:, None, None], (40, 6, 6))
    with recorded() as saved:
        sample_grid(tmp_path / "samples.png", images, labels, splits, ["normal", "sick"])
    shown = [round(panel.colour(0.5, 0.5)[0] / 5) for panel in saved["samples.png"].panels]
    names = [panel.ax.texts[0].get_text() for panel in saved["samples.png"].panels[::8]]
    expected = {
        (split, label): np.flatnonzero((splits == split) & (labels == label))[:8].tolist()
        for split in ("train", "test")
        for label in (0, 1)
    }
    assert shown == [row for rows in expected.values() for row in rows]
    assert names == ["train\nnormal", "train\nsick", "test\nnormal", "test\nsick"]


def test_a_map_leaves_its_radiograph_upright(tmp_path):
    image, activation = cornered(8), np.zeros((4, 4), np.float32)
    activation[0, 3] = 1  # upper right
    pixels = large(image, activation, tmp_path / "map.png")
    shown = pixels[10::20, 10::20]
    assert is_grey(shown[4:], image[4:])
    assert is_grey(shown[:, :4], image[:, :4])
    assert np.ptp(shown[0, 7]) > 100
