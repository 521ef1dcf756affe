"""Figures of queries and their nearest neighbours: three fixed queries, the hardest, one of each
sub-class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr.figures import radiographs

SHOWN = (0, 20, 70)  # the queries that the published ResNet-18 system shows
BESIDE = 5  # neighbours beside each query


@dataclass(frozen=True)
class Search:
    """images: (N, H, W) uint8, of the data set. queries: (Q,) rows of it. neighbours: (Q, K) rows of it, for
    each query the nearest first, K at least 5. values: (Q, K) float, cosines or distances as `measure`
    names. gallery: of what the gallery consists, in words."""

    images: np.ndarray
    queries: np.ndarray
    neighbours: np.ndarray
    values: np.ndarray
    measure: str
    gallery: str


def draw_retrieval(
    search: Search, names: np.ndarray, subclasses: np.ndarray, hardest: Sequence[int], first: Sequence[int]
) -> None:
    """Writes plots/retrieval*.png. names, subclasses: (N,) str, of every image of the data set; a sub-class
    is "" where a class has none. hardest, first: positions among the queries, see
    `cxr.embeddings.retrieval`."""
    queries, depth = search.queries, search.neighbours.shape[1]
    note = f"\nGallery: {search.gallery}"
    hits = (names[search.neighbours] == names[queries][:, None]).sum(axis=1)

    def row(i: int, groups: np.ndarray, remark: str = "") -> radiographs.Neighbours:
        neighbours = search.neighbours[i, :BESIDE]
        return radiographs.Neighbours(
            title=f"test radiograph {i}{remark}",
            image=search.images[queries[i]],
            truth=groups[queries[i]],
            images=[search.images[neighbour] for neighbour in neighbours],
            classes=groups[neighbours].tolist(),
            values=search.values[i, :BESIDE].tolist(),
        )

    radiographs.neighbour_rows(
        "plots/retrieval.png",
        [row(i, names) for i in SHOWN if i < len(queries)],
        f"Test radiographs and their five nearest neighbours in the gallery{note}",
        search.measure,
    )
    radiographs.neighbour_rows(
        "plots/retrieval_errors.png",
        [row(i, names, f"\n{hits[i]} of {depth} of its class") for i in hardest],
        f"Test radiographs with fewer than half of {depth} nearest neighbours of their class{note}",
        search.measure,
    )
    groups = np.where(subclasses == "", names, subclasses)
    radiographs.neighbour_rows(
        "plots/retrieval_subclasses.png",
        [row(i, groups) for i in first],
        f"The first test radiograph of each sub-class and its five nearest neighbours in the gallery{note}",
        search.measure,
        "sub-class",
    )
