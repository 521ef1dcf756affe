"""The images that two runs have in common, in one order."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from cxr.commands.compare.runs import Run, changed_params
from cxr.core.errors import UserError
from cxr.inference.predictions import PATH, Predictions

SPLITS = ("test", "val")


@dataclass(frozen=True)
class Matched:
    """a, b: predictions of the same images, row by row. notes: sentences about images left out."""

    a: Predictions
    b: Predictions
    notes: list[str]


def match_images(a: Run, b: Run) -> Matched:
    """The images that both runs have in the same split, by the hash of their pixels.

    Images of another size have other hashes. There, and where a run from before hashes were published is
    compared, both runs must have the same rows. Raises `UserError` if the classes differ, if the rows do
    where they have to be the same, or if the test images in common are none or of one class.
    """
    one, two = a.predictions, b.predictions
    where = f"{PATH} of {a.name} and of {b.name}"
    if one.classes != two.classes:
        raise UserError(f"{where}: other classes, {', '.join(one.classes)} and {', '.join(two.classes)}")
    sizes = a.params.get("download.size") == b.params.get("download.size")
    if one.hashes is None or two.hashes is None or not sizes:
        check_same_rows(a, b, where)
        matched = Matched(one, two, [])
    else:
        matched = by_hash(one, two)
    for split in SPLITS:
        labels = matched.a.of(split).labels
        counts = np.bincount(labels, minlength=len(one.classes))
        if not counts.sum():
            raise UserError(f"{where}: no {split} radiograph in common; nothing can be compared")
        if counts.min() < 2:
            raise UserError(
                f"{where}: {split} has {counts.min()} radiographs of {one.classes[counts.argmin()]} in "
                "common; a comparison needs at least 2 of each class"
            )
    return matched


def by_hash(a: Predictions, b: Predictions) -> Matched:
    """Images with the same pixels in the same split; copies of an image are matched one to one."""
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    assert b.hashes is not None
    assert a.hashes is not None
    for position, key in reversed(list(enumerate(zip(b.splits.tolist(), b.hashes.tolist(), strict=True)))):
        places[key].append(position)
    pairs = [
        (position, places[key].pop())
        for position, key in enumerate(zip(a.splits.tolist(), a.hashes.tolist(), strict=True))
        if places[key]
    ]
    of_a, of_b = np.array(pairs, dtype=int).reshape(-1, 2).T
    same = a.labels[of_a] == b.labels[of_b]
    matched_a, matched_b = a.at(of_a[same]), b.at(of_b[same])
    notes = []
    for split in SPLITS:
        common, in_a, in_b = (int(np.sum(side.splits == split)) for side in (matched_a, a, b))
        if common < max(in_a, in_b):
            notes.append(
                f"Compared on the {common:,} {split} radiographs that both runs have (A has {in_a:,}, B "
                f"{in_b:,}), matched by their pixels."
            )
    if not same.all():
        notes.append(
            f"{int(np.sum(~same)):,} radiographs have another label in B than in A and are left out."
        )
    return Matched(matched_a, matched_b, notes)


def check_same_rows(a: Run, b: Run, where: str) -> None:
    """Raises `UserError` unless a row is the same image in both runs, as far as parameters, splits and labels
    tell."""
    source = a.params.get("download.source")
    wanted = ["download.source", "split."]
    wanted += {
        "phantom": ["phantom."],
        "folder": ["download.folder"],
        "table": ["download.folder", "table."],
    }.get(str(source), [])
    for key, (of_a, of_b) in changed_params(a, b).items():
        if key.startswith(tuple(wanted)) and None not in (of_a, of_b):
            raise UserError(
                f"params.yaml: {key} is {of_a} at {a.name} and {of_b} at {b.name}, so a row is not the same "
                f"radiograph, and radiographs cannot be matched by their pixels ({_reason(a, b)})"
            )
    one, two = a.predictions, b.predictions
    for what, of_a, of_b in (
        ("rows", one.rows, two.rows),
        ("splits", one.splits, two.splits),
        ("labels", one.labels, two.labels),
    ):
        if not np.array_equal(of_a, of_b):
            raise UserError(
                f"{where}: other {what}, and radiographs cannot be matched by their pixels ({_reason(a, b)})"
            )


def _reason(a: Run, b: Run) -> str:
    for run in (a, b):
        if run.predictions.hashes is None:
            return f"{run.name} has no hashes: run `dvc repro evaluate` there"
    return "download.size differs"
