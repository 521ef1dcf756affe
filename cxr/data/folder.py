"""Your own pictures: a tree of `<class>/` or `train|val|test/<class>/` folders with PNG or JPEG files."""

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cxr.data.raw import SPLITS, Raw
from cxr.errors import UserError
from cxr.film import SUFFIXES, read_film

PATIENTS = "patients.csv"


def read_folder(root: Path, size: int) -> Raw:
    """Every picture below `root`, in the order of its path, as (size, size) uint8.

    Patients come from an optional `patients.csv` in `root` with the columns `file` and `patient`.
    Raises `UserError` for a missing folder, fewer than two classes, a split without pictures of a class,
    a damaged picture, or a patients.csv that names a file that is not there.
    """
    if not root.is_dir():
        raise UserError(f"params.yaml: download.folder is {str(root)!r}, which is not a folder")
    splits = _splits(root)
    found = [(split, folder.name, path) for split in splits for folder, path in _pictures(root / split)]
    _check_classes(root, found)

    files = [path for _, _, path in found]
    with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes without holding the GIL
        films = pool.map(lambda path: read_film(path, size), files)
        images = np.empty((len(files), size, size), np.uint8)
        for row, film in enumerate(tqdm(films, total=len(files), desc="reading films", disable=None)):
            images[row] = film
    names = [path.relative_to(root).as_posix() for path in files]
    return Raw(images, [c for _, c, _ in found], names, [s for s, _, _ in found], _patients(root, names))


def _splits(root: Path) -> tuple[str, ...]:
    """train, val and test if the tree has these folders, else one nameless split."""
    top = {path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if not top & set(SPLITS):
        return ("",)
    if missing := [split for split in SPLITS if split not in top]:
        raise UserError(
            f"{root}: has {', '.join(sorted(top))} but no {', '.join(missing)}; all three, or none"
        )
    if strangers := sorted(top - set(SPLITS)):
        raise UserError(f"{root}: has {strangers[0]} beside train, val and test; move it elsewhere")
    return SPLITS


def _pictures(folder: Path) -> list[tuple[Path, Path]]:
    return [
        (category, path)
        for category in sorted(folder.iterdir())
        if category.is_dir() and not category.name.startswith(".")
        for path in sorted(category.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]


def _check_classes(root: Path, found: list[tuple[str, str, Path]]) -> None:
    classes = sorted({name for _, name, _ in found})
    if len(classes) < 2:
        have = f"only the class {classes[0]!r}" if classes else "no PNG or JPEG in class folders"
        raise UserError(f"{root}: has {have}; a classifier needs two class folders or more")
    for split in {split for split, _, _ in found}:
        lacking = sorted(set(classes) - {name for s, name, _ in found if s == split})
        if lacking:
            raise UserError(
                f"{root / split}: has no pictures of {', '.join(lacking)}; every split needs each class"
            )


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
