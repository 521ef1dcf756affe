"""Folders with radiograph files: walked, and read as trees of class folders, perhaps inside train, val and
test."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from cxr.core.dataset import SPLITS
from cxr.core.errors import UserError
from cxr.data.radiograph import SUFFIXES, is_dicom, read_radiograph


class RadiographFile(NamedTuple):
    """A picture file: its split (empty if the tree has none), its class and where it lies."""

    split: str
    category: str
    path: Path


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` by name, without hidden ones and those that macOS puts into archives."""
    names = (path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
    return sorted(path for path in names if path.is_dir())


def split_folders(root: Path) -> dict[str, Path]:
    """Those of train, val and test (named in either case) that `root` has, in this order.

    Raises `UserError` if one of them is there twice.
    """
    found: dict[str, Path] = {}
    for folder in subfolders(root):
        split = folder.name.lower()
        if split in found:
            raise UserError(f"{root}: has both {found[split].name} and {folder.name}; join them")
        if split in SPLITS:
            found[split] = folder
    return {split: found[split] for split in SPLITS if split in found}


def list_radiographs(folder: Path, split: str) -> list[RadiographFile]:
    """Every PNG, JPEG and DICOM in the class folders of `folder`, at any depth, in the order of its path."""
    return [
        RadiographFile(split, category.name, path)
        for category in subfolders(folder)
        for path in sorted(category.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]


def check_classes(root: Path, splits: Iterable[str], images: Sequence[RadiographFile]) -> None:
    """Raises `UserError` for fewer than two classes, or one of `splits` without pictures of one of them."""
    classes = sorted({image.category for image in images})
    if len(classes) < 2:
        have = f"only the class {classes[0]!r}" if classes else "no PNG, JPEG or DICOM in class folders"
        raise UserError(f"{root}: has {have}; a classifier needs two class folders or more")
    for split in splits:
        lacking = sorted(set(classes) - {image.category for image in images if image.split == split})
        if lacking:
            raise UserError(
                f"{root / split}: has no pictures of {', '.join(lacking)}; every split needs each class"
            )


def read_radiographs(radiographs: Sequence[RadiographFile], size: int) -> np.ndarray:
    """(N, size, size) uint8. Raises `UserError` for the first picture that cannot be read."""
    images = np.empty((len(radiographs), size, size), np.uint8)
    with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes without holding the GIL
        pictures = pool.map(lambda image: read_radiograph(image.path, size), radiographs)
        for row, picture in enumerate(
            tqdm(pictures, total=len(radiographs), desc="reading radiographs", disable=None)
        ):
            images[row] = picture
    return images


def radiographs_in(folder: Path) -> list[Path]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(
        path for path in paths if not _hidden(path.relative_to(folder)) and _looks_like_radiograph(path)
    )


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _looks_like_radiograph(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return path.name != "DICOMDIR" and is_dicom(file)  # a DICOMDIR lists other files
    except OSError:
        return False
