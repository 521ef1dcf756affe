"""What `cxr new` says of image files: which are missing, unreadable or there twice, kinds and sizes."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxr.core.errors import UserError
from cxr.core.files import sha256
from cxr.data.radiograph import read_original

SAMPLE = 500  # files that are read: enough to notice one unreadable in a hundred, in a minute or two
TAIL = 1 << 16  # bytes at the end of a file that are compared first; of a DICOM file they are pixels


@dataclass(frozen=True)
class FileReport:
    """missing, unreadable: why, by path. kinds: how many files have each suffix. copies: files that equal
    another byte by byte. read: how many were read. sides: (n, 2) int, width and height of those."""

    missing: list[str]
    unreadable: dict[str, str]
    kinds: Counter[str]
    copies: int
    total: int
    read: int
    sides: np.ndarray

    def lines(self, size: int) -> list[str]:
        """size: `download.size`, pixels per side of a stored image."""
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.kinds.most_common(6))
        lines = [f"files: {kinds}"]
        if len(self.sides):
            width, height = (_range(side.min(), side.max()) for side in self.sides.T)
            lines.append(f"sizes: {width} x {height} pixels; stored as {size} x {size} (download.size)")
        if self.missing:
            lines.append(f"not there: {len(self.missing):,} of {self.total:,}, such as {self.missing[0]}")
        lines.append(f"copies: {self.copies:,} files equal another one byte by byte")
        lines.append(f"unreadable: {len(self.unreadable)} of {self.read:,} that were read")
        return lines + [f"  {path}: {reason}" for path, reason in list(self.unreadable.items())[:3]]


def inspect_files(folder: Path, paths: Sequence[str]) -> FileReport:
    """paths: below `folder`, one or more. Up to `SAMPLE` of them, evenly spaced, are read as the stage
    download reads them. Raises `UserError` if none of them is there."""
    there = [path for path in paths if (folder / path).is_file()]
    if not there:
        raise UserError(f"{folder}: none of {len(paths):,} images is there; the first of them is {paths[0]}")
    sample = [there[i] for i in np.unique(np.linspace(0, len(there) - 1, SAMPLE).astype(int))]
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(_side_or_error, [folder / path for path in sample]))
    sides = [side for side in read if not isinstance(side, str)]
    return FileReport(
        missing=sorted(set(paths) - set(there)),
        unreadable={path: side for path, side in zip(sample, read, strict=True) if isinstance(side, str)},
        kinds=Counter(Path(path).suffix.lower() or "without a suffix" for path in there),
        copies=_copies([folder / path for path in there]),
        total=len(paths),
        read=len(sample),
        sides=np.array(sides).reshape(-1, 2),
    )


def _side_or_error(path: Path) -> tuple[int, int] | str:
    try:
        original = read_original(path)
    except UserError as error:
        return str(error).replace(f"{path}: ", "", 1)
    return original.width, original.height


def _copies(paths: Sequence[Path]) -> int:
    """How many files equal an earlier one byte by byte. Most are read in part or not at all: those of another
    size, or with another end, are no copies."""
    copies, candidates = 0, [list(paths)]
    for key in (_length, _tail, sha256):
        groups = []
        for group in candidates:
            by_key: dict[object, list[Path]] = defaultdict(list)
            for path in group:
                by_key[key(path)].append(path)
            groups += [same for same in by_key.values() if len(same) > 1]
        candidates = groups
    for group in candidates:
        copies += len(group) - 1
    return copies


def _length(path: Path) -> int:
    return path.stat().st_size


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(TAIL, _length(path)), 2)
        return hashlib.sha256(file.read()).digest()


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
