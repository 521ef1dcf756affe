"""Tiles stand in the order of their cases below the title of their section, with their own frame and map."""

import numpy as np
import pytest

from cxr.figures.panels import Tile, sections
from cxr.figures.style import MARKED, PLAIN
from tests.pictures import Picture, cornered, is_grey, recorded

SIZE = 8


def tile(level: int, **changes) -> Tile:
    return Tile(cornered(SIZE, level, 250), f"tile {level}", **changes)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Picture:
    heat = np.zeros((SIZE, SIZE), np.float32)
    heat[6:, :3] = 1  # lower left
    cases = {
        "first section": [
            (tile(10), tile(20, frame=PLAIN)),
            (tile(30), tile(40, frame=MARKED)),
            (tile(50), tile(60, activation=heat, frame=MARKED)),
        ],
        "second section": [(tile(70), tile(80))],
    }
    path = tmp_path_factory.mktemp("panels") / "sections.png"
    with recorded() as saved:
        sections(path, cases, "Title", per_row=2)
    return saved["sections.png"]


def place(picture: Picture, level: int) -> tuple[float, float]:
    """Pixels from the left and from the top."""
    left, bottom, _, height = picture.titled(f"tile {level}").box
    return left, len(picture.pixels) - bottom - height


def test_images_and_captions(picture):
    for level in (10, 20, 30, 40, 50, 70, 80):
        assert is_grey(picture.titled(f"tile {level}").shown(SIZE), cornered(SIZE, level, 250))


def test_two_cases_in_a_row_each_from_left_to_right(picture):
    columns = [place(picture, level)[0] for level in (10, 20, 30, 40)]
    assert columns == sorted(columns)
    assert len({round(place(picture, level)[1]) for level in (10, 20, 30, 40)}) == 1
    assert columns[2] - columns[1] > columns[1] - columns[0]  # a gap sets the cases apart
    assert place(picture, 50) == pytest.approx((columns[0], place(picture, 50)[1]), abs=1)
    assert place(picture, 10)[1] < place(picture, 50)[1] < place(picture, 70)[1]


def test_sections_have_their_own_title(picture):
    tops = {}
    for part in picture.figure.subfigs:
        if part._suptitle:
            tops[part._suptitle.get_text()] = len(picture.pixels) - part._suptitle.get_window_extent().y0
    assert list(tops) == ["first section", "second section"]
    assert tops["first section"] < place(picture, 10)[1] < tops["second section"] < place(picture, 70)[1]


def test_frames(picture):
    assert picture.titled("tile 20").framed(PLAIN)
    assert picture.titled("tile 40").framed(MARKED)
    assert picture.titled("tile 60").framed(MARKED)
    assert not picture.titled("tile 10").framed(PLAIN)
    assert not picture.titled("tile 20").framed(MARKED)


def test_map_lies_where_it_was_computed_in_the_colours_of_the_bar(picture):
    shown, plain = picture.titled("tile 60").shown(SIZE), cornered(SIZE, 60, 250)
    assert is_grey(shown[:5, 1:-1], plain[:5, 1:-1])
    assert is_grey(shown[1:-1, 5:-1], plain[1:-1, 5:-1])
    yellow = np.array([253, 231, 37])
    np.testing.assert_allclose(shown[6, 1], 0.6 * yellow + 0.4 * 60, atol=25)
    bar = picture.panels[-1]
    np.testing.assert_allclose(bar.colour(0.97, 0.5), [243, 230, 30], atol=8)
    np.testing.assert_allclose(bar.colour(0.03, 0.5), [70, 10, 93], atol=8)
