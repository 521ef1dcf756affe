"""Stratified splits that keep patients together; duplicates and patients across splits and classes."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from cxr.core.dataset import SPLITS


def stratified(labels: np.ndarray, groups: list[str], ratios: dict[str, float], seed: int) -> list[str]:
    """The split of each row: by `ratios` within every class, with each group in one split only.

    labels: (N,) int. groups: N strings, such as patients; each row with an empty one is a group of its own.
    ratios: the fraction of each split, together 1. Groups are assigned largest first, each to the split that
    lacks most of its classes; groups of equal size in an order drawn with `seed`.
    """
    members = defaultdict(list)
    for row, group in enumerate(groups):
        members[group or ("row", row)].append(row)
    units = list(members.values())
    order = np.random.default_rng(seed).permutation(len(units))
    units = sorted((units[i] for i in order), key=len, reverse=True)

    classes = int(labels.max()) + 1
    totals = np.bincount(labels, minlength=classes)
    names = list(ratios)
    fractions = np.array([ratios[name] for name in names])
    lacking = fractions[:, None] * totals[None, :]  # (splits, classes) rows still wanted
    result = [""] * len(labels)
    for rows in units:
        counts = np.bincount(labels[rows], minlength=classes)
        # Relative to the size of the split, so that the largest one does not always come first.
        split = int(np.argmax((lacking / fractions[:, None]) @ counts))
        lacking[split] -= counts
        for row in rows:
            result[row] = names[split]
    return result


def cut_val(
    splits: list[str], labels: np.ndarray, groups: list[str], fraction: float, seed: int
) -> list[str]:
    """`splits` with a val of whole groups, split off train, with about `fraction` of each of its classes."""
    rows = [row for row, split in enumerate(splits) if split == "train"]
    cut = stratified(
        labels[rows], [groups[row] for row in rows], {"train": 1 - fraction, "val": fraction}, seed
    )
    result = list(splits)
    for row, split in zip(rows, cut, strict=True):
        result[row] = split
    return result


def duplicates(hashes: list[str], splits: list[str], classes: list[str]) -> dict[str, int]:
    """The numbers of byte-equal images: redundant ones within a split, shared ones between two splits, and
    labels in excess of one per distinct image (`label_conflicts`)."""
    by_split = {
        split: Counter(h for h, s in zip(hashes, splits, strict=True) if s == split) for split in SPLITS
    }
    report = {f"within_{split}": sum(n - 1 for n in count.values()) for split, count in by_split.items()}
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        report[f"{first}_{second}"] = len(by_split[first].keys() & by_split[second].keys())
    labelled = set(zip(hashes, classes, strict=True))
    report["label_conflicts"] = len(labelled) - len(set(hashes))
    return report


def leaked_into_train(hashes: list[str], splits: list[str]) -> np.ndarray:
    """(N,) bool: the training rows whose image is in val or test as well."""
    held_out = {h for h, split in zip(hashes, splits, strict=True) if split != "train"}
    return np.array([s == "train" and h in held_out for h, s in zip(hashes, splits, strict=True)])


def under_two_classes(hashes: list[str], classes: list[str]) -> np.ndarray:
    """(N,) bool: the rows whose image is labelled with another class as well, in any split."""
    of_image = defaultdict(set)
    for h, name in zip(hashes, classes, strict=True):
        of_image[h].add(name)
    return np.array([len(of_image[h]) > 1 for h in hashes])


def patients_of_splits(patients: Sequence[str], splits: Sequence[str]) -> dict[str, int]:
    """The number of patients in each split, and of those that two splits have in common, as `train_val`.

    patients, splits: N strings each, of each image. An image of an unknown patient, "", is not counted.
    """
    of = {split: {p for p, s in zip(patients, splits, strict=True) if p and s == split} for split in SPLITS}
    alone = {split: len(names) for split, names in of.items()}
    return alone | {f"{a}_{b}": len(of[a] & of[b]) for a, b in combinations(SPLITS, 2)}
