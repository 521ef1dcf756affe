"""Image files to one array on disk, in blocks, so that memory does not grow with their number.

A conversion that was killed goes on after its last complete block, to the same bytes. Its state is
.resume/download/<key>/, outside of the outputs, which DVC removes before a stage runs again; the key is a
hash of the files' names, sizes and times, of the settings, of the code of this room, and of the libraries
that decode. It is removed when all files have been read.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cxr.core.errors import UserError
from cxr.core.files import full_disk_refused, npy_header, read_json, write_json
from cxr.data.folders import read_in_order

RESUME = Path(".resume/download")
BLOCK = 256  # images that a killed conversion may have to read again
UINT8 = np.dtype(np.uint8)
LIBRARIES = ("numpy", "pillow", "pydicom", "imagecodecs")


def convert_files(folder: Path, names: Sequence[str], size: int, most: float, target: Path) -> dict[str, str]:
    """Write the images of the files `names` below `folder`, (N, size, size) uint8, to `target`, a .npy file.

    most: the largest fraction of files that may be unreadable. Returns why, by name, for each file that is,
    and prints a line on stderr for it; the others are in `target` in the order of `names`. Raises
    `UserError` as soon as there are more, or if the disk is full; `target` is then left as it was.
    """
    state = RESUME / _resume_key(folder, names, size)
    partial, progress = state / "images.npy", state / "progress.json"
    done, broken = 0, dict[str, str]()
    if progress.is_file():
        kept = read_json(progress)
        done, broken = kept["files"], kept["broken"]
        print(f"going on after {done:,} of {len(names):,} files", file=sys.stderr)
    else:
        shutil.rmtree(RESUME, ignore_errors=True)  # of other files
        state.mkdir(parents=True)
    with (
        full_disk_refused(partial),
        partial.open("r+b" if partial.exists() else "w+b") as file,
        tqdm(total=len(names), initial=done, desc="reading radiographs", unit=" images", disable=None) as bar,
    ):
        # A block that was not complete when the process was killed is written again.
        file.truncate(_offset(done - len(broken), size))
        read = read_in_order([folder / name for name in names[done:]], size)
        for start in range(done, len(names), BLOCK):
            block = names[start : start + BLOCK]
            file.seek(_offset(start - len(broken), size))
            for name, image in zip(block, read, strict=False):
                if isinstance(image, UserError):
                    broken[name] = _reason(image, folder / name)
                    tqdm.write(f"left out: {name}: {broken[name]}", file=sys.stderr)
                    if len(broken) > most * len(names):
                        raise _too_many(folder, broken, start, len(names), most)
                else:
                    file.write(image.tobytes())
                bar.update()
            file.flush()
            os.fsync(file.fileno())
            write_json(progress, {"files": start + len(block), "broken": broken})
        file.seek(0)
        file.write(npy_header(UINT8, (len(names) - len(broken), size, size)))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(target)
    shutil.rmtree(RESUME, ignore_errors=True)
    return broken


def _offset(image: int, size: int) -> int:
    """Where in the file an image starts."""
    return len(npy_header(UINT8, (0, size, size))) + image * size * size


def _resume_key(folder: Path, names: Sequence[str], size: int) -> str:
    digest = hashlib.sha256(repr([size, [_version(name) for name in LIBRARIES]]).encode())
    for code in sorted(Path(__file__).parent.glob("**/*.py")):
        digest.update(code.read_bytes())
    for name in names:
        try:
            stat = (folder / name).stat()
            digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        except OSError:  # reported when it is read
            digest.update(f"{name}\0\n".encode())
    return digest.hexdigest()[:16]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # of an extra; what cannot be read without it can be read with it
        return "not installed"


def _reason(error: UserError, path: Path) -> str:
    """Without the directory, which is another one on another machine."""
    return str(error).replace(f"{path}: ", "", 1).replace(str(path), path.name)


def _too_many(folder: Path, broken: dict[str, str], start: int, total: int, most: float) -> UserError:
    name, reason = next(iter(broken.items()))
    return UserError(
        f"{folder}: {len(broken):,} of the first {start + BLOCK:,} images cannot be read, of {total:,} "
        f"more than table.max_broken ({most:g}) allows; the first: {name}: {reason}"
    )
