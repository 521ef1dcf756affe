"""Blocks of rows cover an image once, in order, whatever its shape."""

import numpy as np
import pytest

from cxr.data import blocks
from cxr.data.blocks import row_blocks, row_boxes


@pytest.mark.parametrize(("height", "width"), [(7, 3), (3, 7), (1, 50), (50, 1), (12, 12)])
def test_every_pixel_is_in_one_block(monkeypatch, height, width):
    monkeypatch.setattr(blocks, "BLOCK", 20)
    covered, rows = np.zeros((2, height, width), int), 0
    for part in row_blocks(height, width):
        assert part.start == rows < part.stop
        rows = part.stop
        covered[0, part] += 1
    for left, upper, right, lower in row_boxes((width, height)):
        covered[1, upper:lower, left:right] += 1
        assert (left, right) == (0, width)
    assert np.array_equal(covered, np.ones((2, height, width)))
    assert height == 1 or len([*row_blocks(height, width)]) > 1
