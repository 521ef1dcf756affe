"""Your own pictures, PNG, JPEG or DICOM files: a tree of `<class>/` or `train|val|test/<class>/` folders."""

import csv
from pathlib import Path

from cxr.core.dataset import SPLITS
from cxr.core.errors import UserError
from cxr.data.folders import check_classes, list_radiographs, read_radiographs, split_folders, subfolders
from cxr.data.manifest import Raw

PATIENTS = "patients.csv"


def read_folder(root: Path, size: int) -> Raw:
    """Every picture below `root`, in the order of its path, as (size, size) uint8.

    The folders train, val and test may be named in either case; classes keep the names of their folders.
    Patients come from an optional `patients.csv` in `root` with the columns `file` and `patient`.
    Raises `UserError` for a missing folder, fewer than two classes, a split without pictures of a class,
    a damaged picture, or a patients.csv that names a file that is not there.
    """
    if not root.is_dir():
        raise UserError(f"params.yaml: download.folder is {str(root)!r}, which is not a folder")
    splits = _splits(root)
    images = [image for split, part in splits.items() for image in list_radiographs(part, split)]
    check_classes(root, splits, images)
    names = [image.path.relative_to(root).as_posix() for image in images]
    return Raw(
        images=read_radiographs(images, size),
        classes=[image.category for image in images],
        sources=names,
        splits=[image.split for image in images],
        patients=_patients(root, names),
    )


def _splits(root: Path) -> dict[str, Path]:
    """The folders of train, val and test if the tree has them, else the whole tree as one nameless split."""
    folders = split_folders(root)
    if not folders:
        return {"": root}
    top = subfolders(root)
    if missing := [split for split in SPLITS if split not in folders]:
        have = ", ".join(path.name for path in top)
        raise UserError(f"{root}: has {have} but no {', '.join(missing)}; all three, or none")
    if strangers := [path.name for path in top if path not in folders.values()]:
        raise UserError(f"{root}: has {strangers[0]} beside train, val and test; move it elsewhere")
    return folders


def _patients(root: Path, names: list[str]) -> list[str]:
    path = root / PATIENTS
    if not path.is_file():
        return [""] * len(names)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"file", "patient"} <= set(reader.fieldnames or ()):
            raise UserError(f"{path}: needs the columns file and patient")
        patients = {row["file"]: row["patient"] for row in reader}
    strangers = sorted(set(patients) - set(names))
    if strangers:
        raise UserError(f"{path}: names {strangers[0]!r}, which is not a picture below {root}")
    return [patients.get(name, "") for name in names]
