"""Radiographs below a folder or the URL of an object store, by fsspec (https://filesystem-spec.readthedocs.io):
s3://, gs://, abfs://, sftp:// and others, each with the package and the credentials that fsspec asks for.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np

from cxr.core.dataset import Reading
from cxr.core.errors import UserError
from cxr.data.folders import HIDDEN, ahead
from cxr.data.radiograph import SUFFIXES, is_dicom_start, read_original_bytes

# Which entry of a listing changes with the content of a file, by store.
STAMPS = ("ETag", "etag", "mtime", "LastModified", "updated", "created")


class StoredFile(NamedTuple):
    """name: below the store's root. stamp: changes when the file's content changes."""

    name: str
    stamp: str


class Store:
    """source: a folder, or a URL that fsspec knows. Raises `UserError` if it cannot be read."""

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            # Listings of millions of files are not kept.
            self._files, root = fsspec.core.url_to_fs(source, use_listings_cache=False)
            self._root: str = root.rstrip("/")
            found = self._files.isdir(self._root)
        except _errors(ValueError, ImportError) as error:
            raise self._unreadable(error) from None
        if not found:
            raise UserError(f"{source}: no such folder")

    @property
    def url(self) -> str:
        """Without credentials, which `source` may hold."""
        return self._files.unstrip_protocol(self._root)

    def radiographs(self) -> Iterator[StoredFile]:
        """Every radiograph at any depth, always in the same order: files with one of `SUFFIXES`, and DICOM
        files whose name ends in no suffix or in a number. Hidden files and folders are skipped. Memory grows
        with the largest folder, not with the number of files.

        Raises `UserError` if a folder cannot be listed or is a link, and for a FIFO, a device or a broken
        link that has the suffix of a radiograph.
        """
        yield from self._below(self._root)

    def read(self, names: Sequence[str], size: int, reading: Reading) -> Iterator[np.ndarray | UserError]:
        """For each of `names` its image, (size, size) uint8, or why it is no radiograph that can be read. A
        few files are fetched and decoded ahead.

        Raises `UserError` if the store does not answer.
        """
        yield from ahead(partial(self._image, size=size, reading=reading), names)

    def _below(self, folder: str) -> Iterator[StoredFile]:
        try:
            entries = sorted(self._files.ls(folder, detail=True), key=lambda entry: entry["name"])
        except _errors() as error:
            raise self._unreadable(error) from None
        for entry in entries:
            path: str = entry["name"].rstrip("/")
            name = path.rpartition("/")[2]
            if name.startswith(HIDDEN) or path == folder:
                continue
            if entry.get("islink") and self._files.isdir(path):
                raise UserError(f"{path}: a link to a folder, which is not followed; put the folder there")
            if entry["type"] == "directory":
                yield from self._below(path)
                continue
            file = entry["type"] == "file" or self._files.isfile(path)  # a link to one
            if not file and Path(name).suffix.lower() in SUFFIXES:
                raise UserError(f"{path}: a FIFO, a device or a broken link, not a file; remove it")
            if file and self._is_radiograph(path, name):
                stamps = (str(entry[key]) for key in STAMPS if key in entry)
                yield StoredFile(path[len(self._root) + 1 :], f"{entry['size']} {next(stamps, '')}")

    def _is_radiograph(self, path: str, name: str) -> bool:
        suffix = Path(name).suffix.lower()
        if suffix in SUFFIXES:
            return True
        if name == "DICOMDIR" or not (suffix == "" or suffix[1:].isdecimal()):
            return False
        try:
            return is_dicom_start(self._files.cat_file(path, 0, 132))
        except _errors() as error:
            raise self._unreadable(error) from None

    def _image(self, name: str, size: int, reading: Reading) -> np.ndarray | UserError:
        try:
            content = self._files.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return UserError("no such file")
        except PermissionError:
            return UserError("may not be read")
        except _errors() as error:
            raise self._unreadable(error) from None
        try:
            return read_original_bytes(content, name).resized(size, reading)
        except UserError as error:
            return UserError(str(error).removeprefix(f"{name}: "))

    def _unreadable(self, error: Exception) -> UserError:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return UserError(f"{self.source}: cannot be read ({reason}); what is done is kept, run it again")


def _errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What stores raise that cannot be reached: those of Amazon's client are no `OSError`."""
    client: Any = sys.modules.get("botocore.exceptions")
    return (OSError, *others, client.BotoCoreError) if client else (OSError, *others)
