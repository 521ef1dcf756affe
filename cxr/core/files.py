"""Outputs are written whole or not at all, and as the same bytes for the same content."""

import csv
import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cxr.core.errors import UserError


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it is renamed to `path` only if the block succeeds.

    Raises `UserError` if the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with full_disk_refused(path):
            yield temporary
            temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def full_disk_refused(path: Path) -> Iterator[None]:
    """Raises `UserError`, which names `path`, where the block raises that the disk is full."""
    try:
        yield
    except OSError as error:
        # On a full disk NumPy's error has no errno, only how much it could write.
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "requested and" in str(error):
            raise UserError(
                f"{path}: the disk is full; free some space (`dvc gc --workspace` removes unused outputs) "
                "and run again"
            ) from None
        raise


@contextmanager
def writing() -> Iterator[None]:
    """A file that cannot be written becomes a `UserError`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written ({error.strerror})") from None


def write_npy(path: Path | str, array: np.ndarray) -> None:
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def write_npy_rows(path: Path | str, array: np.ndarray, rows: np.ndarray) -> None:
    """Write `array[rows]` in blocks, so that memory does not grow with a memory map. rows: (n,) int."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(npy_header(array.dtype, (len(rows), *array.shape[1:])))
        for start in range(0, len(rows), 256):
            file.write(array[rows[start : start + 256]].tobytes())


def write_npy_parts(path: Path | str, parts: Sequence[np.ndarray]) -> None:
    """Write what `np.concatenate(parts)` gives, a part at a time. parts: at least one, of one dtype."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(npy_header(parts[0].dtype, (sum(map(len, parts)), *parts[0].shape[1:])))
        for part in parts:
            file.write(np.ascontiguousarray(part).data)


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """What `np.save` writes before the numbers of an array; it is as long for any `shape[0]`."""
    header = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    return header.getvalue()


def write_csv(path: Path | str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Floats are written with 7 significant digits, about the precision of a float32."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow([f"{v:.7g}" if isinstance(v, float | np.floating) else v for v in row])


def read_csv(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_json(path: Path | str, content: Any) -> None:
    """Floats are rounded to 6 decimals. Raises `ValueError` for NaN and infinity, which are not JSON."""
    with atomic(path) as temporary:
        text = json.dumps(_rounded(content), indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


def sha256(path: Path | str) -> str:
    """The SHA-256 of the file's bytes, 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path | str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_rounded(item) for item in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6)
    if isinstance(value, np.integer):
        return int(value)
    return value
