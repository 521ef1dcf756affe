"""Figures of the commands: radiographs at full resolution, maps over them, frames in a class's colour."""

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from cxr.commands import figures
from cxr.commands.figures import Explained, SimilarImages
from cxr.figures.style import COLOURS
from tests.builders import noise_images, refused
from tests.pictures import cornered, is_grey, recorded

CLASSES = ["normal", "pneumonia", "tuberculosis"]


def explained(activation: np.ndarray, image: np.ndarray | None = None, name: str = "image.dcm") -> Explained:
    image = np.full((600, 600), 128, np.uint8) if image is None else image
    return Explained(name, image, np.full((28, 28), 128, np.uint8), activation, "pneumonia", 0.931)


def similar(count: int, classes: list[str]) -> SimilarImages:
    neighbours = list(noise_images(count, 28))
    return SimilarImages(
        "image.png", noise_images(1, 300)[0], neighbours[0], neighbours, classes, ["a\nb"] * count
    )


def pixels(path: Path) -> np.ndarray:
    """(H, W, 3) int."""
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def coloured(path: Path) -> np.ndarray:
    """(H, W) bool: what is not grey. Without the colour bar below the radiographs."""
    drawn = pixels(path)
    return (drawn.max(axis=2) - drawn.min(axis=2) > 30)[: int(0.8 * len(drawn))]


def test_map_lies_over_the_middle_image_where_it_is_high(tmp_path):
    activation = np.zeros((28, 28), np.float32)
    activation[2:8, 18:26] = 1  # upper right
    figures.explanation_figure(tmp_path / "map.png", [explained(activation)])
    positions = np.argwhere(coloured(tmp_path / "map.png"))
    height, width = pixels(tmp_path / "map.png").shape[:2]
    assert len(positions) > 1000
    (top, left), (bottom, right) = (
        positions.min(axis=0) / (height, width),
        positions.max(axis=0) / (height, width),
    )
    assert 1 / 3 + 0.15 < left < right < 2 / 3
    assert top < bottom < 0.45


def test_map_of_nothing_colours_nothing(tmp_path):
    figures.explanation_figure(tmp_path / "map.png", [explained(np.zeros((28, 28), np.float32))])
    assert not coloured(tmp_path / "map.png").any()


def test_images_are_drawn_at_full_resolution(tmp_path):
    """Stripes that 28 pixels cannot hold appear in both radiographs, not in the input of the model."""
    stripes = np.repeat(np.tile([0, 255], 50), 6)[None].repeat(600, axis=0).astype(np.uint8)
    none = np.zeros((28, 28), np.float32)
    figures.explanation_figure(tmp_path / "map.png", [explained(none, stripes)])
    drawn = pixels(tmp_path / "map.png")[..., 0]
    line = drawn[len(drawn) // 2]
    contrasts = [
        np.ptp(np.sort(third)[len(third) // 5 : -len(third) // 5]) for third in np.array_split(line, 3)
    ]
    assert contrasts[0] > 150
    assert contrasts[1] > 150
    assert contrasts[2] < 10


def test_each_image_has_a_row(tmp_path):
    activation = np.ones((28, 28), np.float32)
    for count in (1, 3):
        figures.explanation_figure(tmp_path / f"{count}.png", [explained(activation)] * count)
    one, three = (pixels(tmp_path / f"{count}.png").shape for count in (1, 3))
    assert one[1] == three[1]
    assert 2 < three[0] / one[0] < 3


@pytest.mark.parametrize("classes", [["normal"] * 3, ["pneumonia", "tuberculosis"] * 3 + ["normal"]])
def test_frames_have_the_colour_of_the_class(tmp_path, classes):
    figures.neighbour_figure(tmp_path / "n.png", [similar(len(classes), classes)], CLASSES)
    drawn = pixels(tmp_path / "n.png")
    drawn = drawn[: int(0.9 * len(drawn))]  # without the legend
    counts = {}
    for name, colour in zip(CLASSES, COLOURS, strict=False):
        rgb = np.round(np.array(to_rgb(colour)) * 255)
        counts[name] = int((abs(drawn - rgb).max(axis=2) <= 2).sum())
    assert {name for name, count in counts.items() if count > 500} == set(classes)
    if len(set(classes)) > 1:
        assert counts["pneumonia"] > 2 * counts["normal"]  # three frames against one


def test_equal_images_give_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        figures.neighbour_figure(tmp_path / name, [similar(2, ["normal"] * 2)] * 2, CLASSES)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_path_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with refused(f"{tmp_path / 'file' / 'n.png'}: cannot be written"):
        figures.neighbour_figure(tmp_path / "file" / "n.png", [similar(1, ["normal"])], CLASSES)


def test_memory_is_free_after_drawing(tmp_path):
    images = noise_images(2, 3000)
    activation = np.ones((28, 28), np.float32)
    gc.disable()  # figure and axes refer to each other, so the collector may come late
    tracemalloc.start()
    try:
        for image in images:
            figures.explanation_figure(tmp_path / "map.png", [explained(activation, image)])
        assert tracemalloc.get_traced_memory()[0] < images[0].nbytes
    finally:
        tracemalloc.stop()
        gc.enable()


def test_each_row_shows_its_radiograph_its_map_and_the_models_input(tmp_path):
    heats = np.zeros((2, 8, 8), np.float32)
    heats[0, 6:, :3] = 1  # lower left; the second map is empty
    rows = [
        Explained(
            f"{number}.png", cornered(8, 60 + number, 220), cornered(8, 10 + number, 200), heat, name, p
        )
        for number, (heat, name, p) in enumerate(zip(heats, CLASSES, (0.612, 0.931), strict=False))
    ]
    with recorded() as saved:
        figures.explanation_figure(tmp_path / "map.png", rows)
    panels = saved["map.png"].panels
    for number, row in enumerate(rows):
        plain, mapped, seen = panels[3 * number : 3 * number + 3]
        assert plain.title == f"{number}.png (centre square)"
        assert is_grey(plain.shown(8), row.image)
        assert seen.title == "input of the model: 8 x 8 pixels"
        assert is_grey(seen.shown(8), row.seen)
        regions = ("regions that raise", "no region raises")[number]
        assert mapped.title == f"{regions} the score of {row.decision}: p = {row.probability:.3f}"
        shown = mapped.shown(8)
        assert is_grey(shown[:5], row.image[:5])
        assert is_grey(shown[:, 5:], row.image[:, 5:])
        assert is_grey(shown, row.image) == (not row.activation.any())


def test_neighbours_stand_beside_their_query_nearest_first(tmp_path):
    def query(start: int) -> SimilarImages:
        levels = range(start, start + 35, 5)
        return SimilarImages(
            f"query {start}.png",
            cornered(8, start, 250),
            cornered(8, start + 2, 240),
            [cornered(8, level, 230) for level in levels],
            [CLASSES[level % 3] for level in levels],
            [f"caption {level}" for level in levels],
        )

    queries = [query(10), query(100)]
    with recorded() as saved:
        figures.neighbour_figure(tmp_path / "n.png", queries, CLASSES)
    picture = saved["n.png"]
    for one in queries:
        assert is_grey(picture.titled(one.name).shown(8), one.image)
        row = [panel for panel in picture.panels if panel.title]
        start = [panel.title for panel in row].index(one.name)
        assert is_grey(row[start + 1].shown(8), one.seen)
        for panel, image, name, caption in zip(
            row[start + 2 : start + 9], one.neighbours, one.classes, one.captions, strict=True
        ):
            assert panel.title == caption
            assert is_grey(panel.shown(8)[1:-1, 1:-1], image[1:-1, 1:-1])
            assert panel.framed(COLOURS[CLASSES.index(name)])
