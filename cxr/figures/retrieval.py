"""Pictures of queries and of the images found for them: three by number, the hardest, one a sub-class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr.figures import radiographs

SHOWN = (0, 20, 70)  # the queries of the published ResNet-18 system's gallery
BESIDE = 5  # images beside each query


@dataclass(frozen=True)
class Search:
    """images: (N, H, W) uint8, of the data set. queries: (Q,) rows of it. neighbours: (Q, K) rows of it, for
    each query the nearest first, K at least 5. values: (Q, K) float, what `measure` is called."""

    images: np.ndarray
    queries: np.ndarray
    neighbours: np.ndarray
    values: np.ndarray
    measure: str


def draw_retrieval(
    search: Search, names: np.ndarray, subclasses: np.ndarray, hardest: Sequence[int], first: Sequence[int]
) -> None:
    """plots/retrieval*.png. names, subclasses: (N,) str, of every image of the data set; a sub-class is ""
    where a class has none. hardest, first: positions among the queries, see `cxr.embeddings.retrieval`."""
    queries, depth = search.queries, search.neighbours.shape[1]
    alike = (names[search.neighbours] == names[queries][:, None]).sum(axis=1)

    def row(i: int, groups: np.ndarray, remark: str = "") -> radiographs.Neighbours:
        near = search.neighbours[i, :BESIDE]
        return radiographs.Neighbours(
            title=f"test radiograph {i}{remark}",
            image=search.images[queries[i]],
            truth=groups[queries[i]],
            images=[search.images[each] for each in near],
            classes=groups[near].tolist(),
            similarity=search.values[i, :BESIDE].tolist(),
        )

    radiographs.neighbour_rows(
        "plots/retrieval.png",
        [row(i, names) for i in SHOWN if i < len(queries)],
        "Test radiographs and the five nearest radiographs of the gallery",
        search.measure,
    )
    radiographs.neighbour_rows(
        "plots/retrieval_errors.png",
        [row(i, names, f"\n{alike[i]} of {depth} alike") for i in hardest],
        f"Test radiographs of whose {depth} nearest radiographs fewer than half are of their class",
        search.measure,
    )
    groups = np.where(subclasses == "", names, subclasses)
    radiographs.neighbour_rows(
        "plots/retrieval_subclasses.png",
        [row(i, groups) for i in first],
        "The first test radiograph of each sub-class and the five nearest radiographs of the gallery",
        search.measure,
        "sub-class",
    )
