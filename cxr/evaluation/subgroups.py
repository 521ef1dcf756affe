"""Accuracy in subgroups of the images, with intervals and tests against the other images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from scipy.stats import fisher_exact

from cxr.core.dataset import Dataset
from cxr.evaluation.statistics import effective_cases, holm, wilson

TERCILES = ("low", "middle", "high")


class Subgroup(TypedDict):
    """images, errors: counts. low, high: the 95 % interval of the accuracy (Wilson, 1927). p: two-sided, of
    equal error rates in the subgroup and in all other images (Fisher's exact test), adjusted by Holm's method
    for the number of subgroups; 1 if there are no other images. With patients both count `effective_cases`,
    the test in whole numbers, as Rao & Scott (1992, https://doi.org/10.2307/2532311) do by design effects."""

    images: int
    errors: int
    accuracy: float
    low: float
    high: float
    p: float


Subgroups = dict[str, dict[str, Subgroup]]


def limits(values: np.ndarray) -> list[float]:
    """The upper limits of the lowest and the middle third of `values`, (N,) float."""
    return np.quantile(values, [1 / 3, 2 / 3]).tolist()


def terciles(values: np.ndarray, limits: Sequence[float]) -> np.ndarray:
    """(N,) str of `TERCILES`: the third of each of the (N,) `values`; a limit belongs to the lower third."""
    return np.array(TERCILES)[np.digitize(values, limits, right=True)]


def duplicate_status(hashes: Sequence[str], rows: np.ndarray) -> np.ndarray:
    """(n,) str for the images of one split, the `rows` (n,) int of all `hashes`: "unique", "copy in its
    split", or "copy in another split", whether or not there is one in its own split too. Copies have equal
    pixels."""
    within = Counter(hashes[row] for row in rows)
    outside = set(np.delete(np.array(hashes), rows).tolist())
    status = []
    for row in rows:
        own = "copy in its split" if within[hashes[row]] > 1 else "unique"
        status.append("copy in another split" if hashes[row] in outside else own)
    return np.array(status)


def cut_into_subgroups(
    data: Dataset, subclasses: np.ndarray, hashes: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, list[float]]]:
    """For each attribute of the T test images, the subgroup of each, (T,) str, "" for none; and the grey
    levels that separate the thirds of train in `brightness` (the mean of an image) and `contrast` (its SD).

    subclasses: (N,) str, hashes: N, of every image of the data set.
    """
    train, test = data.rows("train"), data.rows("test")
    groups, cuts = {}, {}
    for name, statistic in (("brightness", np.mean), ("contrast", np.std)):
        values = np.array([statistic(image) for image in data.images])
        cuts[name] = limits(values[train])
        groups[name] = terciles(values[test], cuts[name])
    groups["class"] = np.array(data.classes)[data.labels[test]]
    groups["sub-class"] = subclasses[test]
    groups["duplicates"] = duplicate_status(hashes, test)
    return groups, cuts


def measure_subgroups(
    right: np.ndarray, groups: Mapping[str, np.ndarray], patients: np.ndarray | None = None
) -> Subgroups:
    """right: (N,) bool, whether each image is classified correctly. groups: for each attribute (N,) str, the
    subgroup of each image, "" for none. patients: (N,) int, equal for images of one patient, or None."""
    subgroups: Subgroups = {}
    for group, names in groups.items():
        subgroups[group] = {name: _measure(right, names == name, patients) for name in _in_order(names)}
    measured = [subgroup for names in subgroups.values() for subgroup in names.values()]
    for subgroup, p in zip(measured, holm([subgroup["p"] for subgroup in measured]), strict=True):
        subgroup["p"] = p
    return subgroups


def worst_subgroup(subgroups: Subgroups, overall: float) -> str:
    """The subgroup of lower than the `overall` accuracy with the lowest p, in words."""
    count = sum(len(names) for names in subgroups.values())
    below = [
        (subgroup["p"], subgroup["accuracy"], group, name, subgroup)
        for group, names in subgroups.items()
        for name, subgroup in names.items()
        if subgroup["accuracy"] < overall
    ]
    if not below:
        return "Accuracy is the same in all subgroups."
    p, accuracy, group, name, subgroup = min(below, key=lambda entry: entry[:4])
    start = (
        f"Accuracy is significantly lower in the subgroup {group} = {name}"
        if p < 0.05
        else f"Accuracy is significantly lower in no subgroup; p is lowest in {group} = {name}"
    )
    return (
        f"{start}: {accuracy:.3f} (95 % CI {subgroup['low']:.3f} to {subgroup['high']:.3f}; "
        f"{subgroup['errors']:,} of {subgroup['images']:,} radiographs misclassified), "
        f"overall {overall:.3f}; p = {p:.2g} (Fisher's exact test, Holm's correction for {count} subgroups, "
        "which overlap). Intervals are not corrected for multiplicity."
    )


def as_table(subgroups: Subgroups) -> str:
    """A line for each subgroup, below a line of headings."""
    lines = [f"{'subgroup':36}{'images':>7}{'errors':>8}{'accuracy':>10}{'95 % CI':>18}{'p (Holm)':>10}"]
    for group, names in subgroups.items():
        for name, row in names.items():
            interval = f"{row['low']:.3f} to {row['high']:.3f}"
            numbers = f"{row['images']:>7,}{row['errors']:>8,}{row['accuracy']:>10.3f}{interval:>18}"
            lines.append(f"{f'{group}: {name}':36}{numbers}{row['p']:>10.2g}")
    return "\n".join(lines)


def _in_order(names: np.ndarray) -> list[str]:
    order = {name: position for position, name in enumerate(TERCILES)}
    return sorted(set(names.tolist()) - {""}, key=lambda name: (order.get(name, 0), name))


def _measure(right: np.ndarray, inside: np.ndarray, patients: np.ndarray | None) -> Subgroup:
    images, correct = int(inside.sum()), int(right[inside].sum())
    low, high = wilson(correct / images, effective_cases(inside, patients))
    table = [_counts(right, part, patients) for part in (inside, ~inside)]
    return {
        "images": images,
        "errors": images - correct,
        "accuracy": correct / images,
        "low": float(low),
        "high": float(high),
        "p": float(fisher_exact(table).pvalue),
    }


def _counts(right: np.ndarray, part: np.ndarray, patients: np.ndarray | None) -> list[int]:
    """Errors and correct decisions among the images `part`, (N,) bool."""
    if not part.any():
        return [0, 0]
    cases = round(effective_cases(part, patients))
    errors = round(cases * float((~right[part]).mean()))
    return [errors, cases - errors]
