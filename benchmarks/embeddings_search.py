"""Search in a large gallery: flat against ivf and hnsw, each tuned to a recall of 99 % of the ten nearest.

    python -m benchmarks.embeddings_search    # 1,000,000 vectors: 9 GB of memory, ten minutes on two cores
    python -m benchmarks.embeddings_search 100000

Vectors are interpolated between those of the gallery in models/ (PneumoniaMNIST's 4,698 training radiographs
by 512 numbers: the concatenated features of four members). Each is a convex combination of a real vector and
three of its ten nearest neighbours, with weights drawn uniformly (Dirichlet), and L2-normalised. So it lies
among real neighbours: clusters, the gaps between them and the directions of variation are preserved, and no
vector is a copy. Queries: the test radiographs, which are not interpolated.

Indices are those of `cxr.embeddings.index_kinds`, here built with two threads (the pipeline uses one, for
reproducible bytes). ivf is tuned by the number of probed lists (nprobe), hnsw by the length of its candidate
list (efSearch), to the smallest value of a grid that reaches a recall of 99 %. Memory: bytes of the saved
index. Latency: one query at a time on one thread, the three indices interleaved, so that load from other
processes affects all of them. Under such load a long search is interrupted more often than a short one: CPU
time compares them more fairly than elapsed time, and gives the last column. docs/search.md holds the results.
"""

import argparse
import time
from dataclasses import dataclass
from typing import Any, get_args

import faiss
import numpy as np
import torch

from cxr.core.dataset import load_dataset
from cxr.embeddings.gallery import Gallery
from cxr.embeddings.index_kinds import Kind, new_index
from cxr.embeddings.retrieval import recall
from cxr.embeddings.vectors import embed_rows
from cxr.params import load_params

THREADS, DEPTH, WANTED = 2, 10, 0.99
GRID = (4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 1024)
HEAD = ("kind", "build, s", "memory, MB", "tuned", "recall@10", "recall as released", "p50, ms", "p99, ms")
HEAD += ("p50 CPU time, ms", "times faster")
NEIGHBOURS, MIXED, CHUNK = 10, 3, 50_000


@dataclass
class Measured:
    index: Any
    build: float  # seconds
    memory: int  # bytes
    setting: str = ""
    recall: float = 1.0
    as_released: float = 1.0  # recall with the search parameters of `cxr.embeddings.index_kinds`


def interpolate(real: np.ndarray, count: int) -> np.ndarray:
    """(count, d) float32, see above. real: (N, d) float32. Both L2-normalised."""
    generator = np.random.default_rng(0)
    exact = faiss.IndexFlatIP(real.shape[1])
    exact.add(real)
    neighbours = exact.search(real, NEIGHBOURS + 1)[1][:, 1:]
    vectors = np.zeros((count, real.shape[1]), np.float32)
    for start in range(0, count, CHUNK):
        part = vectors[start : start + CHUNK]
        first = generator.integers(0, len(real), len(part))
        chosen = generator.random((len(part), NEIGHBOURS)).argsort(axis=1)[:, :MIXED]
        corners = np.column_stack([first, np.take_along_axis(neighbours[first], chosen, axis=1)])
        weights = generator.dirichlet(np.ones(MIXED + 1), len(part)).astype(np.float32)
        for corner, weight in zip(corners.T, weights.T, strict=True):
            part += weight[:, None] * real[corner]
    faiss.normalize_L2(vectors)
    return vectors


def build(kind: Kind, vectors: np.ndarray) -> Measured:
    start = time.perf_counter()
    index: Any = new_index(kind, "cosine", *vectors.shape)
    index.train(vectors)
    index.add(vectors)
    return Measured(index, time.perf_counter() - start, size(index))


def size(index: faiss.Index) -> int:
    """Bytes of the saved index."""
    written: list[int] = []
    faiss.write_index(index, faiss.PyCallbackIOWriter(lambda part: written.append(len(part))))
    return sum(written)


def tune(measured: Measured, kind: Kind, queries: np.ndarray, exact: np.ndarray) -> None:
    holder, name = (measured.index, "nprobe") if kind == "ivf" else (measured.index.hnsw, "efSearch")
    measured.as_released = recall(measured.index.search(queries, DEPTH)[1], exact)
    for value in GRID:
        setattr(holder, name, value)
        measured.setting = f"{name} {value}"
        measured.recall = recall(measured.index.search(queries, DEPTH)[1], exact)
        if measured.recall >= WANTED:
            return


def latencies(indices: dict[Kind, Measured], queries: np.ndarray) -> dict[Kind, np.ndarray]:
    """(Q, 2) milliseconds of each index, one query at a time: elapsed time, and CPU time."""
    faiss.omp_set_num_threads(1)
    spent: dict[Kind, list[tuple[float, float]]] = {kind: [] for kind in indices}
    for query in queries:
        for kind, measured in indices.items():
            start = time.perf_counter(), time.thread_time()
            measured.index.search(query[None], DEPTH)
            end = time.perf_counter(), time.thread_time()
            spent[kind].append((1000 * (end[0] - start[0]), 1000 * (end[1] - start[1])))
    faiss.omp_set_num_threads(THREADS)
    return {kind: np.array(values) for kind, values in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", type=int, nargs="?", default=1_000_000)
    count = parser.parse_args().vectors
    faiss.omp_set_num_threads(THREADS)
    data, gallery = load_dataset(), Gallery.load()
    meta, rows = gallery.meta, data.rows("test")
    real = gallery.index.reconstruct_n(0, gallery.index.ntotal)
    embedded = embed_rows(meta.embedding, meta.metric, data, rows, load_params(), torch.device("cpu"))
    queries = embedded.values.copy()
    for rows in (real, queries):
        faiss.normalize_L2(rows)
    vectors = interpolate(real, count)
    print(
        f"{count:,} vectors of {real.shape[1]} numbers, from {len(real):,} real ones; {len(queries)} queries"
    )

    indices: dict[Kind, Measured] = {kind: build(kind, vectors) for kind in get_args(Kind)}
    del vectors
    exact = indices["flat"].index.search(queries, DEPTH)[1]
    for kind in ("ivf", "hnsw"):
        tune(indices[kind], kind, queries, exact)
    spent = latencies(indices, queries)
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for kind, measured in indices.items():
        elapsed, cpu = spent[kind].T
        p50, p99 = np.percentile(elapsed, [50, 99])
        ratio = np.median(spent["flat"][:, 1]) / np.median(cpu)
        print(
            f"| {kind} | {measured.build:,.1f} | {measured.memory / 1e6:,.0f} | {measured.setting} "
            f"| {measured.recall:.4f} | {measured.as_released:.4f} | {p50:.2f} | {p99:.2f} "
            f"| {np.median(cpu):.2f} | {ratio:.1f} |"
        )


if __name__ == "__main__":
    main()
