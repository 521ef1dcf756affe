"""Subgroups have the right images, published intervals, and p-values adjusted for their number."""

import math

import numpy as np
import pytest
from scipy.stats import hypergeom

from cxr.core.dataset import Dataset
from cxr.evaluation import subgroups
from cxr.evaluation.subgroups import (
    Subgroup,
    Subgroups,
    cut_into_subgroups,
    measure_subgroups,
    worst_subgroup,
)


def table(**changes: tuple[int, int, float]) -> Subgroups:
    """A subgroup for each name: images, errors, p."""
    return {
        "group": {
            name: Subgroup(images=n, errors=k, accuracy=1 - k / n, low=0.1, high=0.9, p=p)
            for name, (n, k, p) in changes.items()
        }
    }


@pytest.mark.parametrize(("right", "images"), [(10, 10), (0, 3), (208, 234), (1, 2)])
def test_interval_is_wilsons(right, images):
    """Against the formula, with the normal quantile."""
    (result,) = measure_subgroups(np.arange(images) < right, {"all": np.full(images, "x")})["all"].values()
    z, p = 1.959963985, right / images
    centre = (p + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * math.sqrt(p * (1 - p) / images + z**2 / (4 * images**2))
    assert (result["low"], result["high"]) == pytest.approx((centre - half, centre + half), abs=1e-8)
    assert (result["images"], result["errors"], result["p"]) == (images, images - right, 1)


def test_p_is_fishers_with_holms_correction():
    right = np.array([True] * 40 + [False] * 10)
    names = np.array(["a"] * 35 + ["b"] * 15)
    result = measure_subgroups(right, {"one": names, "two": np.array(["", "c"] * 25)})
    assert set(result["one"]) == {"a", "b"}
    assert set(result["two"]) == {"c"}
    odds = hypergeom(50, 10, 15)  # errors among the 15
    observed = odds.pmf(10)
    p = sum(odds.pmf(k) for k in range(11) if odds.pmf(k) <= observed * (1 + 1e-7))
    assert result["one"]["b"]["p"] == pytest.approx(min(1, 3 * p))
    assert result["one"]["a"]["p"] == pytest.approx(
        min(1, 3 * p)
    )  # never below one that is stepped before it
    assert result["two"]["c"]["p"] == 1


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


def test_subgroups_are_in_their_order():
    right = np.ones(3, bool)
    result = measure_subgroups(
        right, {"x": np.array(["high", "low", "middle"]), "y": np.array(["b", "a", "b"])}
    )
    assert [list(names) for names in result.values()] == [["low", "middle", "high"], ["a", "b"]]


def test_duplicates_are_those_with_equal_hashes():
    hashes = ["a", "b", "c", "c", "a", "d", "e", "e"]
    assert subgroups.duplicate_status(hashes, np.array([2, 3, 4, 5, 6])).tolist() == [
        "copy in its split",
        "copy in its split",
        "copy in another split",
        "unique",
        "copy in another split",
    ]


def test_worst_subgroup_is_the_most_significant_not_the_smallest():
    words = worst_subgroup(table(tiny=(2, 1, 0.8), large=(200, 40, 0.001), good=(300, 1, 1e-6)), 0.9)
    assert words == (
        "Accuracy is significantly lower in the subgroup group = large: 0.800 (95 % CI 0.100 to 0.900; 40 of "
        "200 radiographs misclassified), overall 0.900; p = 0.001 (Fisher's exact test, Holm's correction "
        "for 3 subgroups, which overlap). Intervals are not corrected for multiplicity."
    )
    assert worst_subgroup(table(tiny=(2, 1, 0.8)), 0.9).startswith(
        "Accuracy is significantly lower in no subgroup; p is lowest in group = tiny: 0.500 "
    )
    assert worst_subgroup(table(a=(5, 0, 1.0)), 1.0) == "Accuracy is the same in all subgroups."


def test_thirds_are_cut_on_train_and_images_of_test_are_put_into_them():
    """Train has grey levels 0, 10, ..., 80; of test every image is brighter, and has more contrast."""
    train = [np.full((2, 2), level) for level in range(0, 90, 10)]
    test = [np.array([[level - 40, level + 40], [level, level]]) for level in (41, 130)]
    images = np.array([*train, *test], np.uint8)
    splits, labels = np.array(["train"] * 9 + ["test"] * 2), np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0])
    data = Dataset(images, labels, ["normal", "sick"], splits, "plain")
    names = np.array([f"group_{row}" for row in range(11)], dtype=object)
    groups, cuts = cut_into_subgroups(data, names, [str(row) for row in range(10)] + ["3"])
    assert cuts["brightness"] == pytest.approx([80 / 3, 160 / 3])
    assert cuts["contrast"] == pytest.approx([0, 0])
    assert groups["brightness"].tolist() == ["middle", "high"]
    assert groups["contrast"].tolist() == ["high", "high"]
    assert groups["class"].tolist() == ["sick", "normal"]
    assert groups["sub-class"].tolist() == ["group_9", "group_10"]
    assert groups["duplicates"].tolist() == ["unique", "copy in another split"]


def test_accuracy_is_the_proportion_of_correct_decisions():
    (result,) = measure_subgroups(np.arange(10) < 7, {"all": np.full(10, "x")})["all"].values()
    assert (result["accuracy"], result["errors"]) == (0.7, 3)
