"""Pictures of queries and of the films found for them: three by number, the hardest, one a sub-class."""

import numpy as np

from cxr import figures
from cxr.data.packed import Packed
from cxr.gallery import Found, Meta

SHOWN = (0, 20, 70)  # the queries of the published ResNet-18 system's gallery
HARDEST = 6  # shared out among the classes
BESIDE = 5  # films beside each query


def draw(data: Packed, queries: np.ndarray, found: Found, meta: Meta, subclasses: np.ndarray) -> None:
    """plots/retrieval*.png. queries: (Q,) rows of the test films that were asked for; found: (Q, K) for them,
    K at least 5; subclasses: (N,) str, of every film of the data set, "" where a class has none."""
    names = np.array(data.classes)[data.labels]
    hits = data.labels[found.rows] == data.labels[queries][:, None]

    def row(i: int, groups: np.ndarray, remark: str = "") -> figures.Neighbours:
        near = found.rows[i, :BESIDE]
        return figures.Neighbours(
            title=f"test film {i}{remark}",
            film=data.images[queries[i]],
            truth=groups[queries[i]],
            films=[data.images[each] for each in near],
            classes=groups[near].tolist(),
            similarity=found.values[i, :BESIDE].tolist(),
        )

    figures.neighbour_rows(
        "plots/retrieval.png",
        [row(i, names) for i in SHOWN if i < len(queries)],
        "Test films and the five nearest films of the gallery",
        meta.measure,
    )
    closeness = found.values[:, 0] if meta.metric == "cosine" else -found.values[:, 0]
    figures.neighbour_rows(
        "plots/retrieval_errors.png",
        [
            row(i, names, f"\n{hits[i].sum()} of {hits.shape[1]} alike")
            for i in hardest(hits, closeness, data.labels[queries])
        ],
        f"Test films of whose {hits.shape[1]} nearest films fewer than half are of their class",
        meta.measure,
    )
    groups = np.where(subclasses == "", names, subclasses)
    figures.neighbour_rows(
        "plots/retrieval_subclasses.png",
        [row(i, groups) for i in first_of_each(subclasses[queries])],
        "The first test film of each sub-class and the five nearest films of the gallery",
        meta.measure,
        "sub-class",
    )


def hardest(hits: np.ndarray, closeness: np.ndarray, labels: np.ndarray) -> list[int]:
    """Queries for which fewer than half of the films found are hits, class by class: the fewest hits first;
    among equals the one whose nearest film is nearest, as if that were sure.

    hits: (Q, K) bool; closeness: (Q,) float, larger is nearer; labels: (Q,) int.
    """
    share = hits.mean(axis=1)
    order = np.lexsort((-closeness, share))
    order = order[share[order] < 0.5]
    classes = np.unique(labels)
    return [int(i) for label in classes for i in order[labels[order] == label][: HARDEST // len(classes)]]


def first_of_each(groups: np.ndarray) -> list[int]:
    """(Q,) str: the first query of each group, in the order of their names; "" is no group."""
    return [int(np.flatnonzero(groups == name)[0]) for name in sorted(set(groups) - {""})]
