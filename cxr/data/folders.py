"""Image files in folders: one walk for data sets and for the command line, and trees of class folders, with
or without train, val and test.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from cxr.core.dataset import SPLITS
from cxr.core.errors import UserError
from cxr.data.radiograph import KINDS, SUFFIXES, is_dicom, read_radiograph

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 64  # files that are read before the first of them is needed
HIDDEN = (".", "__MACOSX")  # how names of hidden files start, and of the folder that macOS puts into archives


class RadiographFile(NamedTuple):
    """An image file: its split (empty if the tree has none), its class and its path."""

    split: str
    category: str
    path: Path


def find_radiographs(folder: Path) -> list[Path]:
    """Every file of `radiograph.KINDS` below `folder`, at any depth, in the order of the paths.

    They are recognised by their suffix, DICOM files by suffix or content, since many have none. Hidden files
    and folders, `__MACOSX` and DICOMDIR files are skipped. Raises `UserError` for a link to a folder, and for
    a FIFO, a device or a broken link that has the suffix of a radiograph: left out, they would be missed.
    """
    found = []
    for path in folder.rglob("*"):
        if any(part.startswith(HIDDEN) for part in path.relative_to(folder).parts):
            continue
        _check_link(path)
        radiograph = path.suffix.lower() in SUFFIXES
        if path.is_file():
            if radiograph or _is_dicom_file(path):
                found.append(path)
        elif radiograph and not path.is_dir():
            raise UserError(f"{path}: a FIFO, a device or a broken link, not a file; remove it")
    return sorted(found)


def _check_link(path: Path) -> None:
    """Links to files are followed, since `dvc checkout` may make them."""
    if path.is_symlink() and path.is_dir():
        raise UserError(f"{path}: a link to a folder, which is not followed; put the folder itself there")


def _is_dicom_file(path: Path) -> bool:
    if path.name == "DICOMDIR":  # a DICOM file, but a list of other files
        return False
    try:
        with path.open("rb") as file:
            return is_dicom(file)
    except OSError:
        return False


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` by name, without those that `find_radiographs` skips. Raises `UserError` for a
    link to a folder."""
    folders = sorted(path for path in folder.iterdir() if not path.name.startswith(HIDDEN) and path.is_dir())
    for path in folders:
        _check_link(path)
    return folders


def split_folders(root: Path) -> dict[str, Path]:
    """Those of train, val and test (named in either case) that `root` has, in this order.

    Raises `UserError` if it has one of them twice.
    """
    splits: dict[str, Path] = {}
    for folder in subfolders(root):
        split = folder.name.lower()
        if split in splits:
            raise UserError(f"{root}: has both {splits[split].name} and {folder.name}; join them")
        if split in SPLITS:
            splits[split] = folder
    return {split: splits[split] for split in SPLITS if split in splits}


def labelled_radiographs(folder: Path, split: str) -> list[RadiographFile]:
    """The files that `find_radiographs` finds in each class folder of `folder`."""
    return [
        RadiographFile(split, category.name, path)
        for category in subfolders(folder)
        for path in find_radiographs(category)
    ]


def check_classes(root: Path, splits: Iterable[str], files: Sequence[RadiographFile]) -> None:
    """Raises `UserError` for fewer than two classes, or if one of `splits` has no radiograph of a class."""
    classes = sorted({file.category for file in files})
    if len(classes) < 2:
        have = f"only the class {classes[0]!r}" if classes else f"no {KINDS} in class folders"
        raise UserError(f"{root}: has {have}; a classifier needs two class folders or more")
    for split in splits:
        lacking = sorted(set(classes) - {file.category for file in files if file.split == split})
        if lacking:
            raise UserError(
                f"{root / split}: has no radiographs of {', '.join(lacking)}; every split needs each class"
            )


def read_radiographs(files: Sequence[RadiographFile], size: int) -> np.ndarray:
    """(N, size, size) uint8. Raises `UserError` for the first file that cannot be read."""
    images = np.empty((len(files), size, size), np.uint8)
    read = read_in_order([file.path for file in files], size)
    for row, image in enumerate(tqdm(read, total=len(files), desc="reading radiographs", disable=None)):
        if isinstance(image, UserError):
            raise image
        images[row] = image
    return images


def read_in_order(paths: Sequence[Path], size: int) -> Iterator[np.ndarray | UserError]:
    """For each of `paths` its image, (size, size) uint8, or why it cannot be read."""
    return ahead(partial(_read_or_error, size=size), paths)


def ahead(read: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`read` of each of `items`, in their order. A pool of threads reads a few ahead, so that memory does not
    grow with their number."""
    pool = ThreadPoolExecutor()  # Pillow decodes and resizes without holding the GIL
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read_or_error(path: Path, size: int) -> np.ndarray | UserError:
    try:
        return read_radiograph(path, size)
    except UserError as error:
        return error
