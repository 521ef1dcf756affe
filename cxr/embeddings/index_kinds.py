"""Kinds of FAISS index: exact (flat), inverted file (ivf), graph (hnsw). The same vectors give the same bytes
whatever the number of threads, and every query gets as many neighbours as it asks for.

FAISS: https://arxiv.org/abs/2401.08281. ivf: Sivic & Zisserman, 2003,
https://doi.org/10.1109/ICCV.2003.1238663. hnsw: Malkov & Yashunin, https://arxiv.org/abs/1603.09320.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import faiss
import numpy as np

Metric = Literal["cosine", "l2"]
Kind = Literal["flat", "ivf", "hnsw"]

# Up to 19 queries at a time FAISS compares directly, from 20 on by ||a||^2 + ||b||^2 - 2ab through BLAS (its
# distance_compute_blas_threshold): the result of a query would depend on the other queries in its batch, and
# Euclidean distances between similar images would lose digits to cancellation.
BATCH = 16
# Images. An exact search of that many takes 5 ms, a quarter of the time to compute the query's vector: see
# docs/search.md, also for why ivf comes next.
EXACT_UP_TO = 50_000
POINTS_PER_LIST = 39  # training vectors that FAISS asks for, for each list of ivf


def choose_kind(count: int) -> Kind:
    """The kind of index for a gallery of `count` images."""
    return "flat" if count <= EXACT_UP_TO else "ivf"


def new_index(kind: Kind, metric: Metric, count: int, dimensions: int) -> faiss.Index:
    """An empty, untrained index for `count` vectors.

    The search parameters of ivf and hnsw reach a recall of 99 % of the ten nearest neighbours among a million
    vectors interpolated between real ones (docs/search.md).
    """
    measure = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    if kind == "flat":
        return faiss.index_factory(dimensions, "Flat", measure)
    if kind == "ivf":
        lists = max(1, min(int(2 * count**0.5), count // POINTS_PER_LIST))
        ivf: Any = faiss.index_factory(dimensions, f"IVF{lists},Flat", measure)
        ivf.cp.max_points_per_centroid = 64  # a sample is enough for k-means, and a quarter of FAISS's own
        ivf.cp.min_points_per_centroid = 1  # else FAISS warns of a single list with fewer images
        ivf.nprobe = 32
        return ivf
    hnsw: Any = faiss.index_factory(dimensions, "HNSW32,Flat", measure)
    hnsw.hnsw.efConstruction = 100
    hnsw.hnsw.efSearch = 181
    return hnsw


def build_index(kind: Kind, metric: Metric, vectors: np.ndarray) -> faiss.Index:
    """An index of `vectors`, (N, d) float32, L2-normalised for the cosine."""
    index = new_index(kind, metric, *vectors.shape)
    with _one_thread():  # k-means sums, and the graph grows, in an order that depends on the threads
        index.train(vectors)
        index.add(vectors)
    return index


def search_index(
    index: faiss.Index, kind: Kind, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """(Q, k) float32 inner products or squared Euclidean distances, and (Q, k) int64 positions in the index,
    nearest first. queries: (Q, d) float32. k: at most the number of vectors in the index."""
    scores = np.empty((len(queries), k), np.float32)
    positions = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), BATCH):
        part = slice(start, start + BATCH)
        scores[part], positions[part] = _search_batch(index, kind, queries[part], k)
    return scores, positions


def _search_batch(
    index: faiss.Index, kind: Kind, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    scores, positions = index.search(queries, k)
    # FAISS fills up with -1 where the probed lists of ivf hold fewer than k images, or where copies of an
    # image have disconnected the graph of hnsw.
    incomplete = (positions < 0).any(axis=1)
    if incomplete.any():
        scores[incomplete], positions[incomplete] = _search_exhaustively(index, kind, queries[incomplete], k)
    return scores, positions


def _search_exhaustively(
    index: faiss.Index, kind: Kind, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    concrete: Any = faiss.downcast_index(index)
    if kind == "hnsw":
        return concrete.storage.search(queries, k)
    all_lists: Any = faiss.SearchParametersIVF()
    all_lists.nprobe = concrete.nlist
    return concrete.search(queries, k, params=all_lists)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
