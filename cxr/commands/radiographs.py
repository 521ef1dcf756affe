"""The radiographs named on the command line: files and folders, readable or not."""

import argparse
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from cxr.core.dataset import Reading
from cxr.core.errors import UserError
from cxr.data.folders import find_radiographs
from cxr.data.radiograph import KINDS, read_original

AHEAD = 16  # files that are decoded before the caller asks for them; bounds the memory


def add_deidentified_check(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--deidentified-check",
        action="store_true",
        help="warn of DICOM files that may identify their patient, by tags (docs/dicom.md lists them)",
    )


def add_model(command: argparse.ArgumentParser) -> None:
    """The option --model, which `cxr.load` reads."""
    command.add_argument(
        "--model",
        default=".",
        metavar="MODEL",
        help="an exported .onnx file, the folder of a run or of an export, or ORG/NAME[@REVISION] on the "
        "Hugging Face hub; default: the run in this folder",
    )


class NamedRadiograph(NamedTuple):
    """A radiograph that could be read.

    number: its position in `NamedFiles.paths`. image: (size, size) uint8. square: (S, S) uint8, the centre
    square at full resolution, None if it was not asked for. width, height: pixels of the whole radiograph.
    """

    number: int
    path: Path
    image: np.ndarray
    square: np.ndarray | None
    width: int
    height: int


class NamedFiles:
    """The files named on the command line, and the radiographs in the folders named (`find_radiographs`).

    paths: of all of them, in this order. errors: `path` and `message` of each that cannot be read and of each
    folder without a radiograph; complete when `read` has come to its end. Each is also printed to stderr.
    identifying: the same of each file that may identify its patient, None without `check_deidentified`.
    """

    def __init__(self, named: Iterable[Path]) -> None:
        self.paths: list[Path] = []
        self.errors: list[dict[str, str]] = []
        self.identifying: list[dict[str, str]] | None = None
        for path in named:
            paths = find_radiographs(path) if path.is_dir() else [path]
            if not paths:
                self._report(path, f"no {KINDS} radiograph in this folder")
            self.paths += paths
        self._resolved = {path.resolve() for path in self.paths}

    def read(self, size: int, reading: Reading, squares: int = 0) -> Iterator[NamedRadiograph]:
        """Decode each file once, in the order of `paths`, and yield those that can be read.

        reading: that of the classifier's or the gallery's images. squares: so many radiographs, the first
        ones, come with their square. At most `AHEAD` squares are in memory beside those that the caller
        keeps.
        """
        waiting, pending = iter(enumerate(self.paths)), deque[Future[NamedRadiograph | UserError]]()
        done = kept = 0
        with (
            ThreadPoolExecutor() as pool,  # Pillow decodes and resizes without holding the GIL
            tqdm(total=len(self.paths), desc="reading radiographs", disable=None) as progress,
        ):
            while done < len(self.paths):
                for number, path in islice(waiting, AHEAD - len(pending)):
                    pending.append(pool.submit(_read, number, path, size, reading, kept < squares))
                result, path = pending.popleft().result(), self.paths[done]
                done += 1
                progress.update()
                if isinstance(result, UserError):
                    self._report(path, str(result).removeprefix(f"{path}: "))
                    continue
                yield result if kept < squares else result._replace(square=None)
                kept += 1

    def check_deidentified(self) -> None:
        """Print a warning to stderr for each DICOM file that may identify its patient."""
        from cxr.data.dicom_identity import identity_warnings  # pydicom, which other files do not need

        self.identifying = []
        for path in self.paths:
            if warnings := identity_warnings(path):
                self.identifying.append({"path": str(path), "message": "; ".join(warnings)})
                tqdm.write(
                    f"warning: {path}: may identify its patient: {'; '.join(warnings)}", file=sys.stderr
                )

    def end(self) -> None:
        """Ends the process with code 1 if something could not be read."""
        if self.errors:
            raise SystemExit(1)

    def check_figure(self, target: Path, option: str) -> None:
        """Raises `UserError` if `target` is no name for a PNG, or the name of one of the radiographs."""
        if target.suffix.lower() != ".png" or target.is_dir():
            raise UserError(f"{option} {target}: not the name of a .png file")
        if target.resolve() in self._resolved:
            raise UserError(f"{option} {target}: would overwrite a radiograph; choose another name")

    def _report(self, path: Path, message: str) -> None:
        self.errors.append({"path": str(path), "message": message})
        tqdm.write(f"error: {path}: {message}", file=sys.stderr)


def _read(number: int, path: Path, size: int, reading: Reading, square: bool) -> NamedRadiograph | UserError:
    try:
        original = read_original(path)
    except UserError as error:
        return error
    full = original.full() if square else None
    return NamedRadiograph(
        number, path, original.resized(size, reading), full, original.width, original.height
    )
