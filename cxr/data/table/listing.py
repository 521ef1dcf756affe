"""The images that a table names, checked before the first of them is read."""

import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from cxr.core.errors import UserError
from cxr.data.table.layouts import NONE, ImageRow, image_rows_of
from cxr.data.table.question import class_of
from cxr.data.table.rows import place
from cxr.params import Table

PLACEHOLDER = Path("data/table/README.md")  # in the place of a table
SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True)
class Listing:
    """The images to read, in the order of their paths. folder: of the paths. classes, splits, patients: of
    each image, "" where it is unknown. rows: of the table, or images of a published data set. left_out: how
    many of them are not used, by reason."""

    folder: Path
    paths: list[str]
    classes: list[str]
    splits: list[str]
    patients: list[str]
    rows: int
    left_out: Counter[str]


def list_images(settings: Table, folder: Path) -> Listing:
    """The images of `settings` below `folder`.

    Raises `UserError` for a table that does not fit the settings, a path outside of `folder`, an image that
    is named twice, a patient in two splits, and if fewer than two classes remain.
    """
    _check_settings(settings, folder)
    rows, left_out = 0, Counter[str]()
    patients: dict[str, tuple[str, str]] = {}  # split, and where it was first named
    found: dict[str, tuple[str, str, str, int]] = {}
    labels: Counter[str] = Counter()
    for row in tqdm(image_rows_of(settings, folder), desc="reading the table", unit=" rows", disable=None):
        rows += 1
        labels.update(row.labels or ())
        name, reason = class_of(row, settings)
        if reason:
            left_out[reason] += 1
            continue
        path, split = relative_path(row, folder), _split(row, settings)
        if path in found:
            raise _twice(row, path, found[path])
        if row.patient and patients.setdefault(row.patient, (split, row.where))[0] != split:
            other, where = patients[row.patient]
            raise UserError(
                f"{row.where}: patient {row.patient} is in {split}, and in {other} ({where}); a patient "
                "belongs to one split"
            )
        found[path] = (sys.intern(name), split, sys.intern(row.patient), row.number)
    _check_found(found, labels, left_out)
    paths = sorted(found)
    classes, splits, of_patients, _ = zip(*(found[path] for path in paths), strict=True)
    return Listing(folder, paths, list(classes), list(splits), list(of_patients), rows, left_out)


def relative_path(row: ImageRow, folder: Path) -> str:
    """The path of an image below `folder`, with slashes; one with the backslashes of Windows is read as such.

    Raises `UserError` if it is empty or lies outside.
    """
    if not row.path:
        raise UserError(f"{row.where}: names no image; every row needs a path")
    if re.match(r"[A-Za-z]:|\\\\", row.path):
        raise UserError(
            f"{row.where}: {row.path!r} is a path of a Windows computer; write paths below download.folder"
        )
    path = PurePosixPath(row.path.replace("\\", "/"))
    if path.is_absolute():
        path = PurePosixPath(os.path.relpath(path, folder.absolute()))
    path = PurePosixPath(os.path.normpath(path))
    if path.parts[:1] in ((), ("..",)):
        raise UserError(f"{row.where}: {row.path!r} is not below {folder}, the directory of download.folder")
    return path.as_posix()


def _check_settings(settings: Table, folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(
            f"params.yaml: download.folder is {str(folder)!r}, which is not a folder; name the directory "
            "of the images by its absolute path"
        )
    file = Path(settings.file)
    if settings.layout != "own" and file != PLACEHOLDER:
        raise UserError(
            f"params.yaml: table.file is for layout own; {settings.layout} finds its tables in "
            f"download.folder, so set it back to {PLACEHOLDER}"
        )
    if settings.layout == "own" and file == PLACEHOLDER:
        raise UserError(
            "params.yaml: table.file names no table; name a CSV or Parquet file by its absolute path "
            f"({PLACEHOLDER} explains it)"
        )
    declared = settings.labels
    if declared != "any" and settings.positive not in (NONE, *declared):
        raise UserError(
            f"params.yaml: table.positive is {settings.positive!r}, which is none of table.labels: "
            f"{', '.join(declared)}"
        )


def _split(row: ImageRow, settings: Table) -> str:
    if row.split.lower() in SPLIT_NAMES:
        return SPLIT_NAMES[row.split.lower()]
    if row.split or (settings.layout == "own" and settings.columns.split != NONE):
        raise UserError(
            f"{row.where}: its split is {row.split!r}; allowed: {', '.join(SPLIT_NAMES)}, or "
            "table.columns.split none"
        )
    return ""


def _twice(row: ImageRow, path: str, first: tuple[str, str, str, int]) -> UserError:
    name, _, patient, number = first
    before = place(row.file, number).removeprefix(f"{row.file}: ")
    if patient != row.patient:
        return UserError(
            f"{row.where}: {path} is of patient {row.patient or 'unknown'}, but in {before} of "
            f"{patient or 'unknown'}; an image belongs to one patient"
        )
    return UserError(f"{row.where}: names {path} again, after {before} ({name}); an image has one row")


def _check_found(
    found: Mapping[str, tuple[str, str, str, int]],
    labels: Counter[str],
    left_out: Counter[str],
) -> None:
    names = sorted({name for name, *_ in found.values()})
    if len(names) < 2:
        have = f"all are {names[0]}" if names else "none is left"
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(left_out.items()))
        common = ", ".join(f"{name} ({count:,})" for name, count in labels.most_common(20))
        raise UserError(
            f"params.yaml: table: of the images that are used {have}; left out: {reasons or 'none'}; the "
            f"labels in the table are: {common or 'none'}"
        )
