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
