"""Embeddings of any number of radiographs in a folder: shards of vectors, each with a table of its files, and
a JSON file that describes them. Needs no PyTorch.

    embeddings.json       `ShardsMeta`, with `unreadable`: the reason, by name of the file
    shard_000000.npy      (n, d) float32 or float16
    shard_000000.csv      a line for each file: name, stamp, row of the vector or none, reason if it has none
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from cxr.core.dataset import Reading
from cxr.core.errors import UserError
from cxr.core.files import read_csv, read_json, write_csv, write_json, write_npy
from cxr.embeddings.gallery import prepared
from cxr.embeddings.index_kinds import build_index, search_index

META = "embeddings.json"
COLUMNS = ("name", "stamp", "row", "reason")
FILES = 4096  # of a shard


@dataclass(frozen=True)
class ShardsMeta:
    """source: URL of the folder to which names are relative. classifier_sha256: of the weights whose features
    the vectors are. size, reading: of the images. files: None until all are done. count: of vectors."""

    source: str
    classifier_sha256: str
    size: int
    reading: Reading
    dimensions: int
    dtype: Literal["float32", "float16"]
    files_per_shard: int
    shards: int | None = None
    files: int | None = None
    count: int | None = None


class ShardEntry(NamedTuple):
    """A file. stamp: see `cxr.data.object_store.StoredFile`. reason: why it has no vector, or empty."""

    name: str
    stamp: str
    reason: str = ""


class Nearest(NamedTuple):
    """names: of the k nearest to each of Q queries, nearest first. cosines: (Q, k) float32, -1 to 1."""

    names: list[list[str]]
    cosines: np.ndarray


class VectorShards:
    def __init__(self, folder: Path, meta: ShardsMeta) -> None:
        self.folder, self.meta = folder, meta

    @classmethod
    def load(cls, folder: Path) -> "VectorShards":
        """Raises `UserError` if the folder holds no such shards, or not all of them yet."""
        path = folder / META
        if not path.is_file():
            raise UserError(f"{path}: no such file; `cxr embed SOURCE --out {folder}` writes it")
        content = read_json(path)
        content.pop("unreadable", None)
        if set(content) != {field.name for field in fields(ShardsMeta)}:
            raise UserError(f"{path}: has other keys than this version writes; embed into another folder")
        return cls(folder, ShardsMeta(**content))

    def save(self, unreadable: dict[str, str]) -> None:
        write_json(self.folder / META, asdict(self.meta) | {"unreadable": unreadable})

    def vectors(self, shard: int) -> Path:
        return self.folder / f"shard_{shard:06}.npy"

    def table(self, shard: int) -> Path:
        return self.folder / f"shard_{shard:06}.csv"

    def write(self, shard: int, vectors: Sequence[np.ndarray], entries: Iterable[ShardEntry]) -> None:
        """vectors: (d,) float32 of each entry without a reason, in their order. The table comes last: where
        it is, the shard is complete."""
        values = np.array(vectors, self.meta.dtype).reshape(len(vectors), self.meta.dimensions)
        write_npy(self.vectors(shard), values)
        rows = iter(range(len(vectors)))
        lines = [(*each[:2], "" if each.reason else next(rows), each.reason) for each in entries]
        write_csv(self.table(shard), COLUMNS, lines)

    def entries(self, shard: int) -> list[ShardEntry]:
        """Empty if the shard is not complete."""
        if not self.table(shard).is_file():
            return []
        return [
            ShardEntry(each["name"], each["stamp"], each["reason"]) for each in read_csv(self.table(shard))
        ]

    def search(self, queries: np.ndarray, classifier_sha256: str, k: int) -> Nearest:
        """The `k` vectors of the largest cosine with each of `queries`, (Q, d) float32, made by the model
        `classifier_sha256`. Exact; a shard at a time is in memory.

        Raises `UserError` for vectors of another model, and if there are not all of them yet, or fewer than
        `k`.
        """
        meta, path = self.meta, self.folder / META
        if meta.classifier_sha256 != classifier_sha256:
            raise UserError(f"{path}: vectors of another model; embed the radiographs again, or name it")
        if meta.shards is None or meta.count is None:
            raise UserError(f"{path}: not all radiographs are embedded; run `cxr embed` again, it goes on")
        if k > meta.count:
            raise UserError(f"{path}: {meta.count} radiographs, fewer than the {k} to be found")
        queries = prepared(queries, "cosine")
        cosines: np.ndarray = np.empty((len(queries), 0), np.float32)
        found: np.ndarray = np.empty((len(queries), 0), np.int64)  # shard and row in it
        for shard in range(meta.shards):
            vectors = prepared(self._mapped(shard), "cosine")
            if not len(vectors):
                continue
            index = build_index("flat", "cosine", vectors)
            scores, rows = search_index(index, "flat", queries, min(k, len(vectors)))
            cosines = np.hstack([cosines, scores.clip(-1, 1)])
            found = np.hstack([found, rows + shard * meta.files_per_shard])
            best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
            cosines, found = (np.take_along_axis(part, best, axis=1) for part in (cosines, found))
        names = dict[int, str]()
        for shard in np.unique(found // meta.files_per_shard).tolist():
            readable = [entry.name for entry in self.entries(shard) if not entry.reason]
            names |= {shard * meta.files_per_shard + row: name for row, name in enumerate(readable)}
        return Nearest([[names[each] for each in of_query] for of_query in found.tolist()], cosines)

    def _mapped(self, shard: int) -> np.ndarray:
        try:
            return np.load(self.vectors(shard), mmap_mode="r")
        except (OSError, ValueError):
            raise UserError(
                f"{self.vectors(shard)}: missing or damaged; remove {self.table(shard)} and run `cxr embed` "
                "again"
            ) from None
