"""Accuracy in slices of the images: where a classifier fails, and how sure that is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from scipy.stats import fisher_exact

from cxr.evaluation.statistics import holm, wilson

TERCILES = ("low", "middle", "high")


class Subgroup(TypedDict):
    """images, errors: counts. low, high: the 95 % interval of the accuracy (Wilson, 1927). p: two-sided, that
    the slice errs as often as all other images do (Fisher's exact test), adjusted by Holm's method for the
    number of slices; 1 if there are no other images."""

    images: int
    errors: int
    accuracy: float
    low: float
    high: float
    p: float


Subgroups = dict[str, dict[str, Subgroup]]


def limits(values: np.ndarray) -> list[float]:
    """Where the lowest and the middle third of `values` end."""
    return np.quantile(values, [1 / 3, 2 / 3]).tolist()


def terciles(values: np.ndarray, limits: Sequence[float]) -> np.ndarray:
    """(N,) str: in which of the thirds each of the (N,) `values` falls; a limit belongs to the one below."""
    return np.array(TERCILES)[np.digitize(values, limits, right=True)]


def duplicate_status(hashes: Sequence[str], mine: np.ndarray) -> np.ndarray:
    """(n,) str for the images of one split, at `mine` of all `hashes`: "unique", "copy in its split", or
    "copy in another split", whether or not there is one in its own too. Only pictures of equal bytes are
    copies."""
    within = Counter(hashes[i] for i in mine)
    outside = set(np.delete(np.array(hashes), mine).tolist())
    status = []
    for i in mine:
        own = "copy in its split" if within[hashes[i]] > 1 else "unique"
        status.append("copy in another split" if hashes[i] in outside else own)
    return np.array(status)


def measure_subgroups(right: np.ndarray, groups: Mapping[str, np.ndarray]) -> Subgroups:
    """right: (N,) bool, whether each image is decided correctly. groups: for each way of slicing (N,) str,
    the slice of each image, "" for none."""
    found: Subgroups = {}
    for group, names in groups.items():
        found[group] = {name: _slice(right, names == name) for name in _in_order(names)}
    every = [each for subgroups in found.values() for each in subgroups.values()]
    for each, p in zip(every, holm([each["p"] for each in every]), strict=True):
        each["p"] = p
    return found


def worst_subgroup(subgroups: Subgroups, overall: float) -> str:
    """Where accuracy falls most surely, in words: the lowest p of the slices below the `overall` accuracy."""
    count = sum(len(group) for group in subgroups.values())
    below = [
        (each["p"], each["accuracy"], group, name, each)
        for group, names in subgroups.items()
        for name, each in names.items()
        if each["accuracy"] < overall
    ]
    if not below:
        return "accuracy is the same in all slices"
    p, _, group, name, each = min(below, key=lambda entry: entry[:4])
    chance = "That is more than chance" if p < 0.05 else "That may be chance"
    return (
        f"Accuracy falls most surely where {group} is {name}: {each['accuracy']:.3f} ({each['low']:.3f} to "
        f"{each['high']:.3f}; {each['errors']:,} of {each['images']:,} radiographs wrong) against {overall:.3f} "
        f"over all. {chance}: p = {p:.2g} after Holm's correction for {count} slices, which overlap; the "
        "intervals are not corrected."
    )


def _in_order(names: np.ndarray) -> list[str]:
    order = {name: place for place, name in enumerate(TERCILES)}
    return sorted(set(names.tolist()) - {""}, key=lambda name: (order.get(name, 0), name))


def _slice(right: np.ndarray, inside: np.ndarray) -> Subgroup:
    images, correct = int(inside.sum()), int(right[inside].sum())
    others = int(right[~inside].sum())
    low, high = wilson(correct / images, images)
    table = [[images - correct, correct], [len(right) - images - others, others]]
    return {
        "images": images,
        "errors": images - correct,
        "accuracy": correct / images,
        "low": float(low),
        "high": float(high),
        "p": float(fisher_exact(table).pvalue),
    }
