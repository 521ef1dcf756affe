"""Which classes are too small to measure on, and that the limit has the reason that is given for it."""

import pytest

from cxr.core.dataset import SMALL, small_classes
from cxr.evaluation.statistics import wilson


def test_small_classes_are_named():
    assert small_classes({"normal": SMALL, "pneumonia": SMALL + 100}) == ""
    assert small_classes({"normal": 6, "pneumonia": SMALL - 1}) == f"6 of normal, {SMALL - 1} of pneumonia"
    assert small_classes({"normal": 6, "pneumonia": SMALL}) == "6 of normal"


@pytest.mark.parametrize(("images", "wide"), [(SMALL - 1, True), (SMALL, False)])
def test_limit_is_where_an_interval_spans_20_points(images, wide):
    low, high = wilson(0.95, images)
    assert (high - low >= 0.2) == wide
