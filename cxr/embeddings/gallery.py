"""The gallery: vectors of the images among which similar ones are found, as a FAISS index and a file beside
it that says what they are. Needs no PyTorch, so that a service can search with the vectors of another
runtime.

FAISS: https://arxiv.org/abs/2401.08281.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from cxr.core import dataset
from cxr.core.dataset import Dataset
from cxr.core.errors import UserError
from cxr.core.files import atomic, read_json, write_json

INDEX = Path("models/index.faiss")
META = Path("models/index.json")

Embedding = Literal["classifier", "encoder"]
Metric = Literal["cosine", "l2"]
Kind = Literal["flat", "ivf", "hnsw"]

# Up to 19 queries at a time FAISS compares directly, from 20 on by ||a||^2 + ||b||^2 - 2ab through BLAS (its
# distance_compute_blas_threshold): an image's answer would depend on its company, and Euclidean distances of
# near images would lose their digits.
BATCH = 16
# Images. So many are compared in 5 ms, a quarter of the time that the image's vector takes: see
# docs/search.md, also for why ivf comes next.
EXACT_UP_TO = 50_000
POINTS = 39  # training vectors that FAISS wants for each of the lists of ivf


@dataclass(frozen=True)
class Meta:
    """What models/index.faiss holds.

    dimensions: numbers of a vector. source_sha256: of what made the vectors (see `cxr.embeddings.vectors`).
    rows: the data set's row of each vector, in the index's order.
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
    """values: (N, d) float32, of any length. source_sha256: of what made them."""

    values: np.ndarray
    source_sha256: str


@dataclass(frozen=True)
class SearchResult:
    """rows: (Q, k) int64 rows of the data set, nearest first. values: (Q, k) float32, as the gallery's metric
    says the cosine (-1 to 1, larger is nearer) or the Euclidean distance (0 or more, smaller is nearer)."""

    rows: np.ndarray
    values: np.ndarray


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
        values = _prepared(vectors.values, metric)
        count, dimensions = values.shape
        chosen: Kind = automatic(count) if kind == "auto" else kind
        index = new_index(chosen, metric, count, dimensions)
        with _one_thread():  # k-means adds up, and the graph grows, in an order that depends on the threads
            index.train(values)
            index.add(values)
        meta = Meta(embedding, metric, chosen, dimensions, vectors.source_sha256, rows.tolist())
        return cls(index, meta)

    def check(self, data: Dataset) -> None:
        """Raises `UserError` unless the gallery holds the rows of train, or of train and val, of `data`."""
        if self.meta.rows not in (data.rows("train").tolist(), data.rows("train", "val").tolist()):
            raise UserError(f"{META} does not belong to {dataset.LABELS}: other rows; run `dvc repro index`")

    def search(self, vectors: Vectors, k: int) -> SearchResult:
        """The `k` (1 or more) images nearest to each of the `vectors`.

        Raises `UserError` if the vectors were not made by what made the gallery's, or if it has fewer images.
        """
        if vectors.source_sha256 != self.meta.source_sha256:
            raise UserError(f"{INDEX} was built with {OTHER[self.meta.embedding]}; run `dvc repro index`")
        if k > len(self.meta.rows):
            raise UserError(
                f"{INDEX} holds {len(self.meta.rows)} radiographs, fewer than the {k} to be found"
            )
        queries = _prepared(vectors.values, self.meta.metric)
        scores = np.empty((len(queries), k), np.float32)
        positions = np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries), BATCH):
            part = slice(start, start + BATCH)
            scores[part], positions[part] = self._nearest(queries[part], k)
        # FAISS leaves squared distances, and a cosine may round to a little above 1.
        scores = np.sqrt(scores) if self.meta.metric == "l2" else scores.clip(-1, 1)
        return SearchResult(np.array(self.meta.rows, np.int64)[positions], scores)

    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores, positions = self.index.search(queries, k)
        # The lists looked into held too few images, or copies of an image have cut the graph: look at all
        # images.
        short = (positions < 0).any(axis=1)
        if short.any():
            scores[short], positions[short] = self._among_all(queries[short], k)
        return scores, positions

    def _among_all(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        index: Any = faiss.downcast_index(self.index)
        if self.meta.kind == "hnsw":
            return index.storage.search(queries, k)
        every: Any = faiss.SearchParametersIVF()
        every.nprobe = index.nlist
        return index.search(queries, k, params=every)

    def save(self) -> None:
        with atomic(INDEX) as temporary:
            faiss.write_index(self.index, str(temporary))
        write_json(META, asdict(self.meta))

    @classmethod
    def load(cls, root: Path = Path()) -> "Gallery":
        """The gallery of models/ below `root`.

        Raises `UserError` if it has not been built or its two files do not belong together.
        """
        path = root / INDEX
        if not (path.is_file() and (root / META).is_file()):
            raise UserError(f"{path}: no index here; build it with `dvc repro`, or fetch it with `dvc pull`")
        content = read_json(root / META)
        if set(content) != {field.name for field in fields(Meta)}:
            raise UserError(f"{META} has other keys than this version writes; run `dvc repro index`")
        meta = Meta(**content)
        try:
            index = faiss.read_index(str(path))
        except RuntimeError:  # how FAISS says that bytes are missing or mean nothing
            raise UserError(f"{INDEX} is damaged; run `dvc checkout` or `dvc repro index`") from None
        if (index.ntotal, index.d) != (len(meta.rows), meta.dimensions):
            raise UserError(f"{INDEX} and {META} do not belong together; run `dvc repro index`")
        return cls(index, meta)


OTHER = {
    "classifier": "another model than models/classifier.safetensors",
    "encoder": "another encoder than params.yaml names in clip_embed",
}


def automatic(count: int) -> Kind:
    """The kind of index for a gallery of `count` images."""
    return "flat" if count <= EXACT_UP_TO else "ivf"


def new_index(kind: Kind, metric: Metric, count: int, dimensions: int) -> faiss.Index:
    """An empty index for `count` vectors.

    flat: exact. ivf: k-means lists, of which some are looked into (Sivic & Zisserman, 2003,
    https://doi.org/10.1109/ICCV.2003.1238663). hnsw: a navigable graph (Malkov & Yashunin,
    https://arxiv.org/abs/1603.09320). Their settings find 99 % of the ten nearest among a million vectors
    between real ones (docs/search.md).
    """
    measure = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    if kind == "flat":
        return faiss.index_factory(dimensions, "Flat", measure)
    if kind == "ivf":
        lists = max(1, min(int(2 * count**0.5), count // POINTS))
        ivf: Any = faiss.index_factory(dimensions, f"IVF{lists},Flat", measure)
        ivf.cp.max_points_per_centroid = 64  # a sample is enough for k-means, and a quarter of FAISS's own
        ivf.cp.min_points_per_centroid = 1  # else FAISS warns of a single list with fewer images
        ivf.nprobe = 32
        return ivf
    hnsw: Any = faiss.index_factory(dimensions, "HNSW32,Flat", measure)
    hnsw.hnsw.efConstruction = 100
    hnsw.hnsw.efSearch = 181
    return hnsw


def _prepared(values: np.ndarray, metric: Metric) -> np.ndarray:
    """(N, d) float32 as the index takes them; after bringing rows to length 1 the inner product is the
    cosine. A row of zeros stays one."""
    rows = np.array(values, dtype=np.float32, order="C")
    if metric == "cosine":
        faiss.normalize_L2(rows)
    return rows


@contextmanager
def _one_thread() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
