"""The gallery: vectors of the images among which similar ones are searched, as a FAISS index and a JSON file
that describes it. Needs no PyTorch, so that a service can search with the vectors of another runtime.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import faiss
import numpy as np

from cxr.core import dataset
from cxr.core.dataset import Dataset
from cxr.core.errors import UserError
from cxr.core.files import atomic, read_json, write_json
from cxr.core.outputs import missing_output
from cxr.embeddings.index_kinds import Kind, Metric, build_index, choose_kind, search_index

INDEX = Path("models/index.faiss")
META = Path("models/index.json")

Embedding = Literal["classifier", "encoder"]

# Which splits a gallery holds, by `index.gallery` of params.yaml.
SPLITS = {"train": ("train",), "train_val": ("train", "val"), "test": ("test",)}
OTHER_SOURCE = {
    "classifier": "another model than models/classifier.safetensors",
    "encoder": "another encoder than params.yaml names in clip_embed",
}


@dataclass(frozen=True)
class Meta:
    """What models/index.faiss holds.

    dimensions: of a vector. source_sha256: of what made the vectors (see `cxr.embeddings.vectors`). rows: the
    data set's row of each vector, in the index's order.
    """

    embedding: Embedding
    metric: Metric
    kind: Kind
    dimensions: int
    source_sha256: str
    rows: list[int]

    @property
    def measure(self) -> str:
        """The name of what `SearchResult.values` holds."""
        return "cosine" if self.metric == "cosine" else "distance"


@dataclass(frozen=True)
class Vectors:
    """values: (N, d) float32, not necessarily normalised. source_sha256: of what made them."""

    values: np.ndarray
    source_sha256: str


@dataclass(frozen=True)
class SearchResult:
    """rows: (Q, k) int64 rows of the data set, nearest first. values: (Q, k) float32, by the gallery's metric
    the cosine (-1 to 1, larger is nearer) or the Euclidean distance (0 or more, smaller is nearer)."""

    rows: np.ndarray
    values: np.ndarray

    def without(self, own: np.ndarray) -> "SearchResult":
        """One image fewer for each query: its own row, (Q,), where it is among them, else the last."""
        order = np.argsort(self.rows == own[:, None], axis=1, kind="stable")[:, :-1]
        return SearchResult(*(np.take_along_axis(part, order, axis=1) for part in (self.rows, self.values)))


class Gallery:
    def __init__(self, index: faiss.Index, meta: Meta) -> None:
        self.index = index
        self.meta = meta

    @classmethod
    def build(
        cls,
        vectors: Vectors,
        rows: np.ndarray,
        embedding: Embedding,
        metric: Metric,
        kind: Kind | Literal["auto"],
    ) -> "Gallery":
        """rows: (N,) int, the data set's row of each of the `vectors`. kind: auto chooses by their number.

        The same vectors give the same bytes, whatever the number of threads.
        """
        values = prepared(vectors.values, metric)
        count, dimensions = values.shape
        chosen: Kind = choose_kind(count) if kind == "auto" else kind
        meta = Meta(embedding, metric, chosen, dimensions, vectors.source_sha256, rows.tolist())
        return cls(build_index(chosen, metric, values), meta)

    def check(self, data: Dataset) -> None:
        """Raises `UserError` unless the gallery holds all rows of splits of `data` that `SPLITS` names."""
        if self.meta.rows not in (data.rows(*splits).tolist() for splits in SPLITS.values()):
            raise UserError(f"{META} does not belong to {dataset.LABELS}: other rows; run `dvc repro index`")

    def search(self, vectors: Vectors, k: int, own: np.ndarray | None = None) -> SearchResult:
        """The `k` (1 or more) images nearest to each of the `vectors`.

        own: (Q,) rows of the data set that the queries are; where the gallery holds them, each is left out of
        its own result, by its row: a copy of it stays. Raises `UserError` if the vectors were not made by
        what made the gallery's, or if the gallery holds fewer than `k` images.
        """
        if own is not None and np.isin(own, self.meta.rows).any():
            return self.search(vectors, k + 1).without(own)
        if vectors.source_sha256 != self.meta.source_sha256:
            raise UserError(
                f"{INDEX} was built with {OTHER_SOURCE[self.meta.embedding]}; run `dvc repro index`"
            )
        if k > len(self.meta.rows):
            raise UserError(
                f"{INDEX} holds {len(self.meta.rows)} radiographs, fewer than the {k} to be found"
            )
        queries = prepared(vectors.values, self.meta.metric)
        scores, positions = search_index(self.index, self.meta.kind, queries, k)
        # FAISS returns squared distances, and a cosine may round to a little above 1.
        values = np.sqrt(scores) if self.meta.metric == "l2" else scores.clip(-1, 1)
        return SearchResult(np.array(self.meta.rows, np.int64)[positions], values)

    def save(self) -> None:
        with atomic(INDEX) as temporary:
            faiss.write_index(self.index, str(temporary))
        write_json(META, asdict(self.meta))

    @classmethod
    def load(cls, root: Path = Path()) -> "Gallery":
        """The gallery of models/ below `root`.

        Raises `UserError` if it has not been built, is damaged, or its two files do not belong together.
        """
        path = root / INDEX
        if not (path.is_file() and (root / META).is_file()):
            raise missing_output(META if path.is_file() else INDEX, "index", root)
        content = read_json(root / META)
        if set(content) != {field.name for field in fields(Meta)}:
            raise UserError(f"{META} has other keys than this version writes; run `dvc repro index`")
        meta = Meta(**content)
        try:
            index = faiss.read_index(str(path))
        except RuntimeError:  # what FAISS raises for a truncated or invalid file
            raise UserError(f"{INDEX} is damaged; run `dvc checkout` or `dvc repro index`") from None
        if (index.ntotal, index.d) != (len(meta.rows), meta.dimensions):
            raise UserError(f"{INDEX} and {META} do not belong together; run `dvc repro index`")
        return cls(index, meta)


def prepared(values: np.ndarray, metric: Metric) -> np.ndarray:
    """(N, d) float32, a copy of vectors as they are compared: L2-normalised for the cosine, which then is the
    inner product. A row of zeros stays one."""
    rows = np.array(values, dtype=np.float32, order="C")
    if metric == "cosine":
        faiss.normalize_L2(rows)
    return rows
