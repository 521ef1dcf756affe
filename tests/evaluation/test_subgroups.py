"""Slices have the right images, published intervals, and a verdict that counts how many were looked at."""

import math

import numpy as np
import pytest
from scipy.stats import hypergeom

from cxr.evaluation import subgroups
from cxr.evaluation.subgroups import Subgroup, Subgroups, measure_subgroups, worst_subgroup


def table(**changes: tuple[int, int, float]) -> Subgroups:
    """One slice a name: images, errors, p."""
    return {
        "group": {
            name: Subgroup(images=n, errors=k, accuracy=1 - k / n, low=0.1, high=0.9, p=p)
            for name, (n, k, p) in changes.items()
        }
    }


@pytest.mark.parametrize(("right", "images"), [(10, 10), (0, 3), (208, 234), (1, 2)])
def test_interval_is_wilsons(right, images):
    """Against the formula, with the normal quantile."""
    (found,) = measure_subgroups(np.arange(images) < right, {"all": np.full(images, "x")})["all"].values()
    z, p = 1.959963985, right / images
    centre = (p + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * math.sqrt(p * (1 - p) / images + z**2 / (4 * images**2))
    assert (found["low"], found["high"]) == pytest.approx((centre - half, centre + half), abs=1e-8)
    assert (found["images"], found["errors"], found["p"]) == (images, images - right, 1)


def test_p_is_fishers_with_holms_correction():
    right = np.array([True] * 40 + [False] * 10)
    names = np.array(["a"] * 35 + ["b"] * 15)
    found = measure_subgroups(right, {"one": names, "two": np.array(["", "c"] * 25)})
    assert set(found["one"]) == {"a", "b"}
    assert set(found["two"]) == {"c"}
    odds = hypergeom(50, 10, 15)  # errors among the 15
    observed = odds.pmf(10)
    p = sum(odds.pmf(k) for k in range(11) if odds.pmf(k) <= observed * (1 + 1e-7))
    assert found["one"]["b"]["p"] == pytest.approx(min(1, 3 * p))
    assert found["one"]["a"]["p"] == pytest.approx(min(1, 3 * p))  # never below one that is stepped before it
    assert found["two"]["c"]["p"] == 1


def test_thirds_of_train_are_thirds():
    values = np.random.default_rng(0).normal(size=300)
    names = subgroups.terciles(values, subgroups.limits(values))
    assert [int(np.sum(names == name)) for name in subgroups.TERCILES] == [100, 100, 100]
    assert values[names == "low"].max() < values[names == "middle"].min()
    assert values[names == "middle"].max() < values[names == "high"].min()
    assert subgroups.terciles(np.array([0.0, 1, 1.5, 2, 9]), [1, 2]).tolist() == [
        "low",
        "low",
        "middle",
        "middle",
        "high",
    ]


def test_slices_stand_in_their_order():
    right = np.ones(3, bool)
    found = measure_subgroups(
        right, {"x": np.array(["high", "low", "middle"]), "y": np.array(["b", "a", "b"])}
    )
    assert [list(names) for names in found.values()] == [["low", "middle", "high"], ["a", "b"]]


def test_duplicates_are_those_with_equal_hashes():
    hashes = ["a", "b", "c", "c", "a", "d", "e", "e"]
    assert subgroups.duplicate_status(hashes, np.array([2, 3, 4, 5, 6])).tolist() == [
        "copy in its split",
        "copy in its split",
        "copy in another split",
        "unique",
        "copy in another split",
    ]


def test_worst_slice_is_the_surest_not_the_smallest():
    words = worst_subgroup(table(tiny=(2, 1, 0.8), large=(200, 40, 0.001), good=(300, 1, 1e-6)), 0.9)
    assert words.startswith(
        "Accuracy falls most surely where group is large: 0.800 (0.100 to 0.900; 40 of 200 "
    )
    assert "against 0.900 over all. That is more than chance: p = 0.001" in words
    assert "for 3 slices" in words
    assert "That may be chance: p = 0.8" in worst_subgroup(table(tiny=(2, 1, 0.8)), 0.9)
    assert worst_subgroup(table(a=(5, 0, 1.0)), 1.0) == "accuracy is the same in all slices"
