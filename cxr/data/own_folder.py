"""A folder of your own radiographs: `<class>/` or `train|val|test/<class>/` folders."""

import csv
from pathlib import Path

from cxr.core.dataset import SPLITS
from cxr.core.errors import UserError
from cxr.data.folders import (
    RadiographFile,
    check_classes,
    labelled_radiographs,
    read_radiographs,
    split_folders,
    subfolders,
)
from cxr.data.manifest import Raw

PATIENTS = "patients.csv"
ADVICE = (
    "name the directory of your radiographs by its absolute path: experiments with --temp or --queue run "
    "in a copy without the files that Git ignores"
)


def read_folder(root: Path, size: int) -> Raw:
    """Every radiograph below `root`, in the order of the paths, as (size, size) uint8.

    Raises `UserError` for a damaged file, and for what `list_folder` raises.
    """
    files, patients = list_folder(root)
    return Raw(
        images=read_radiographs(files, size),
        classes=[file.category for file in files],
        sources=[file.path.relative_to(root).as_posix() for file in files],
        splits=[file.split for file in files],
        patients=patients,
    )


def list_folder(root: Path) -> tuple[list[RadiographFile], list[str]]:
    """The radiographs below `root`, in the order of their paths, and the patient of each, "" if unknown.

    The folders train, val and test may be named in either case; classes keep the names of their folders.
    Patients come from an optional `patients.csv` in `root` with the columns `file` and `patient`.
    Raises `UserError` for a missing folder, a relative one without radiographs, fewer than two classes, a
    split without radiographs of a class, or a patients.csv that names a file that does not exist.
    """
    if not root.is_dir():
        raise UserError(f"params.yaml: download.folder is {str(root)!r}, which is not a folder; {ADVICE}")
    splits = _splits(root)
    files = [file for split, folder in splits.items() for file in labelled_radiographs(folder, split)]
    if not files and not root.is_absolute():
        raise UserError(f"params.yaml: download.folder is {str(root)!r}, which is empty here; {ADVICE}")
    check_classes(root, splits, files)
    return files, _patients(root, [file.path.relative_to(root).as_posix() for file in files])


def _splits(root: Path) -> dict[str, Path]:
    """The folders of train, val and test if the tree has them, else the whole tree as a nameless split."""
    folders = split_folders(root)
    if not folders:
        return {"": root}
    top = subfolders(root)
    if missing := [split for split in SPLITS if split not in folders]:
        have = ", ".join(path.name for path in top)
        raise UserError(f"{root}: has {have} but no {', '.join(missing)}; all three, or none")
    if others := [path.name for path in top if path not in folders.values()]:
        raise UserError(f"{root}: has {others[0]} beside train, val and test; move it elsewhere")
    return folders


def _patients(root: Path, names: list[str]) -> list[str]:
    path = root / PATIENTS
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a file")
    if not path.exists():
        return [""] * len(names)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"file", "patient"} <= set(reader.fieldnames or ()):
            raise UserError(f"{path}: needs the columns file and patient")
        patients = {row["file"]: row["patient"] for row in reader}
    unknown = sorted(set(patients) - set(names))
    if unknown:
        raise UserError(f"{path}: names {unknown[0]!r}, which is not a radiograph below {root}")
    return [patients.get(name, "") for name in names]
