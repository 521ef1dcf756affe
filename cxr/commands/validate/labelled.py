"""Radiographs with labels: a tree of class folders, a folder with the class in the file names, or a CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr.core.errors import UserError
from cxr.data.folders import find_radiographs, labelled_radiographs, split_folders
from cxr.data.own_folder import PATIENTS
from cxr.data.radiograph import KINDS

SEPARATORS = "_- ."  # between the class and the rest of a file's name


@dataclass(frozen=True)
class LabelledPaths:
    """paths: of N radiographs, read or not. labels: of each the index of its class in the model's order.
    patients: of each the name of its patient, empty if unknown; None if no patient is known. source: where
    the labels are from, in words."""

    paths: list[Path]
    labels: list[int]
    patients: list[str] | None
    source: str


def find_labelled(data: Path, classes: Sequence[str]) -> LabelledPaths:
    """data: a CSV file, or a folder. classes: of the model; their names are matched without regard to case.

    A folder has folders named by class, or holds `train`, `val` and `test` folders of them, of which then
    `test` is read if there is one, else all; or it has no folders, and the name of every file starts with
    its class and one of `SEPARATORS`. A folder may hold a patients.csv (see `cxr.data.own_folder`).
    Raises `UserError` for the first radiograph without a class that the model knows, and for a wrong CSV.
    """
    if data.is_dir():
        return _of_folder(data, classes)
    if data.suffix.lower() != ".csv":
        raise UserError(f"{data}: neither a folder nor a .csv file")
    return _of_table(data, classes)


def _of_folder(root: Path, classes: Sequence[str]) -> LabelledPaths:
    splits, folders = split_folders(root), [root]
    where = ""
    if splits:
        folders = [splits["test"]] if "test" in splits else list(splits.values())
        where = f" of {', '.join(folder.name for folder in folders)}"
        if ignored := [folder.name for folder in splits.values() if folder not in folders]:
            where += f" ({', '.join(ignored)} not read)"
    files = [file for folder in folders for file in labelled_radiographs(folder, "")]
    if files:
        if loose := [path for path in find_radiographs(root) if path.parent in (root, *folders)]:
            raise UserError(f"{loose[0]}: lies beside class folders; move it into the folder of its class")
        paths = [file.path for file in files]
        labels = [_class(file.category, classes, f"{file.path}: the folder") for file in files]
        return LabelledPaths(paths, labels, _patients(root, paths), f"class folders{where}")
    paths = find_radiographs(root)
    if not paths:
        raise UserError(f"{root}: no {KINDS} radiograph in this folder")
    labels = [_class_of_name(path, classes) for path in paths]
    return LabelledPaths(paths, labels, _patients(root, paths), "file names")


def _of_table(table: Path, classes: Sequence[str]) -> LabelledPaths:
    rows = _rows(table, ("path", "label"))
    root = table.parent.resolve()
    paths: list[Path] = []
    for line, row in rows:
        path = table.parent / row["path"]
        if not path.resolve().is_relative_to(root):
            raise UserError(f"{table}, line {line}: {row['path']!r} is outside of the folder of this file")
        if not row["path"] or not path.is_file():
            raise UserError(f"{table}, line {line}: no file {str(path)!r}")
        paths.append(path)
    if twice := _first_repeated([path.resolve() for path in paths]):
        raise UserError(f"{table}, line {rows[twice][0]}: {rows[twice][1]['path']!r} is named twice")
    labels = [_class(row["label"], classes, f"{table}, line {line}: the label") for line, row in rows]
    patients = [row["patient"] for _, row in rows] if "patient" in rows[0][1] else None
    return LabelledPaths(paths, labels, patients, table.name)


def _patients(root: Path, paths: Sequence[Path]) -> list[str] | None:
    """By the file patients.csv in `root`, which may also name radiographs that are not among `paths`."""
    table = root / PATIENTS
    if not table.is_file():
        return None
    patients = {
        (root / row["file"]).resolve(): row["patient"] for _, row in _rows(table, ("file", "patient"))
    }
    return [patients.get(path.resolve(), "") for path in paths]


def _rows(table: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Each row of a CSV with the number of its line. Surrounding blanks of a value are removed."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{table}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{table}: not in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{table}: cannot be read ({error.strerror})") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    header = reader.fieldnames or ()
    if missing := [column for column in columns if column not in header]:
        raise UserError(
            f"{table}: no column {missing[0]!r} in its first line ({', '.join(header)}); it needs the "
            f"columns {' and '.join(columns)}, separated by commas"
        )
    try:
        rows = [(reader.line_num, {name: row[name].strip() for name in header}) for row in reader]
    except csv.Error as error:
        raise UserError(f"{table}, line {reader.line_num}: not a CSV file ({error})") from None
    if not rows:
        raise UserError(f"{table}: names no radiograph")
    return rows


def _class(name: str, classes: Sequence[str], what: str) -> int:
    """The index of the class `name`. what: the place of the name, for a message."""
    folded = [known.casefold() for known in classes]
    if name.casefold() not in folded:
        raise UserError(f"{what} {name!r} is not a class of the model, which knows {', '.join(classes)}")
    return folded.index(name.casefold())


def _class_of_name(path: Path, classes: Sequence[str]) -> int:
    name = path.name.casefold()
    starts = [
        index
        for index, known in enumerate(classes)
        if name.startswith(known.casefold()) and name[len(known.casefold()) :][:1] in SEPARATORS
    ]
    if not starts:
        raise UserError(
            f"{path}: no class; put radiographs into folders named {', '.join(classes)}, or start their "
            "names with one of these and an underscore, or give a CSV with the columns path and label"
        )
    return max(starts, key=lambda index: len(classes[index]))  # normal_variant, not normal


def _first_repeated(paths: Sequence[Path]) -> int | None:
    seen: set[Path] = set()
    for number, path in enumerate(paths):
        if path in seen:
            return number
        seen.add(path)
    return None
