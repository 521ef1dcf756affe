"""The figure of a case shows its radiograph, the map over it, and its neighbours in order."""

import numpy as np
import pytest

from cxr.figures.case import draw_case
from tests.pictures import Picture, cornered, is_grey, recorded

SIZE = 8


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Picture:
    heat = np.zeros((SIZE, SIZE), np.float32)
    heat[6:, :3] = 1  # lower left
    levels = (10, 50, 90, 130, 170)
    neighbours = [(cornered(SIZE, level, 255), f"neighbour {level}") for level in levels]
    path = tmp_path_factory.mktemp("case") / "case.png"
    with recorded() as saved:
        draw_case(path, cornered(SIZE), heat, "pneumonia", neighbours, "cosine")
    return saved["case.png"]


def test_radiograph_is_shown_as_it_is(picture):
    assert is_grey(picture.titled("Radiograph, 8 x 8 pixels").shown(SIZE), cornered(SIZE))


def test_map_lies_over_the_radiograph_where_it_was_computed(picture):
    shown = picture.titled("Grad-CAM of pneumonia").shown(SIZE)
    plain = cornered(SIZE)
    # Away from the map, which is interpolated by a pixel, the radiograph is as it was.
    assert is_grey(shown[:5, :], plain[:5, :])
    assert is_grey(shown[:, 5:], plain[:, 5:])
    yellow = np.array([253, 231, 37])
    np.testing.assert_allclose(shown[7, 0], 0.6 * yellow + 0.4 * plain[7, 0], atol=3)


def test_neighbours_are_in_rows_nearest_first(picture):
    panels = [picture.titled(f"neighbour {level}") for level in (10, 50, 90, 130, 170)]
    for panel, level in zip(panels, (10, 50, 90, 130, 170), strict=True):
        assert is_grey(panel.shown(SIZE), cornered(SIZE, level, 255))
    places = [panel.box[:2] for panel in panels]
    (left, middle, right), (below, beside) = places[:3], places[3:]
    assert left[0] < middle[0] < right[0]
    assert left[1] == middle[1] == right[1] > below[1] == beside[1]
    assert (below[0], beside[0]) == (left[0], middle[0])
