"""The radiographs that a person names on the command line: files and folders, readable or not."""

import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cxr.core.errors import UserError
from cxr.data.folders import radiographs_in
from cxr.data.radiograph import read_radiograph


@dataclass(frozen=True)
class Radiographs:
    """paths: of the N radiographs that could be read. images: (N, size, size) uint8. errors: `path` and
    `message` of each that could not."""

    paths: list[Path]
    images: np.ndarray
    errors: list[dict[str, str]]

    def end(self) -> None:
        """Ends the process with code 1 if a radiograph could not be read."""
        if self.errors:
            raise SystemExit(1)


def read_named(named: Iterable[Path], size: int) -> Radiographs:
    """Read files, and of folders all radiographs at any depth, in the order of their path.

    What cannot be read is one line each on stderr, and the others still go on. In a folder a radiograph is
    told by its suffix, a DICOM file also by its content, since many have none; hidden files and folders are
    skipped.
    """
    paths: list[Path] = []
    errors: list[dict[str, str]] = []
    for each in named:
        found = radiographs_in(each) if each.is_dir() else [each]
        if not found:
            errors.append({"path": str(each), "message": "no PNG, JPEG or DICOM radiograph in this folder"})
        paths += found

    def attempt(path: Path) -> np.ndarray | UserError:
        try:
            return read_radiograph(path, size)
        except UserError as error:
            return error

    radiographs: dict[int, np.ndarray] = {}
    with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes without holding the GIL
        progress = tqdm(pool.map(attempt, paths), total=len(paths), desc="reading radiographs", disable=None)
        for number, result in enumerate(progress):
            if isinstance(result, UserError):
                message = str(result).removeprefix(f"{paths[number]}: ")
                errors.append({"path": str(paths[number]), "message": message})
            else:
                radiographs[number] = result
    for error in errors:
        print(f"error: {error['path']}: {error['message']}", file=sys.stderr)
    images = np.stack(list(radiographs.values())) if radiographs else np.empty((0, size, size), np.uint8)
    return Radiographs([paths[number] for number in radiographs], images, errors)


def check_picture(target: Path, option: str, images: Radiographs | None = None) -> None:
    """Raises `UserError` if `target` is no name for a PNG, or the name of one of `images`."""
    if target.suffix.lower() != ".png" or target.is_dir():
        raise UserError(f"{option} {target}: not the name of a .png file")
    if images and any(path.resolve() == target.resolve() for path in images.paths):
        raise UserError(f"{option} {target}: would overwrite a radiograph; choose another name")
