"""How far apart vectors are: the values of nearest neighbours by class of the query, and the spread of each
class around its centroid."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from sklearn.metrics import silhouette_score

from cxr.embeddings.gallery import SearchResult

NEAREST = 5  # neighbours whose values are described
SILHOUETTE_ROWS = 2000  # the silhouette compares all pairs; a sample of this size bounds it

Numbers = dict[str, float]


def describe_values(values: np.ndarray) -> Numbers:
    """Mean, standard deviation, and the ends and the middle of the range. values: of any shape, not empty."""
    low, median, high = np.quantile(values, [0, 0.5, 1])
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "min": float(low),
        "median": float(median),
        "max": float(high),
    }


def neighbour_values(
    result: SearchResult,
    queries: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    shown: Sequence[int],
) -> dict[str, dict[str, Numbers]]:
    """Statistics of the cosines or distances of the first five of `result`: `by_class` of the query, and of
    the `queries` at the positions `shown`, with the number of the five that have their class (`of_class`).

    queries: (Q,) rows. labels: (N,) int, of every image of the data set.
    """
    values, of_query = result.values[:, :NEAREST], labels[queries]
    hits = (labels[result.rows[:, :NEAREST]] == of_query[:, None]).sum(axis=1)
    return {
        "by_class": {
            name: describe_values(values[of_query == label])
            for label, name in enumerate(classes)
            if label in of_query
        },
        "queries": {
            str(number): describe_values(values[number]) | {"of_class": int(hits[number])}
            for number in shown
            if number < len(queries)
        },
    }


def class_spread(vectors: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, object]:
    """`to_centroid`: statistics of the Euclidean distance of the vectors of each class to their mean.
    `between_centroids`: the distance of each pair of classes. `silhouette`: the mean over a sample, -1 to 1
    (Rousseeuw, 1987, https://doi.org/10.1016/0377-0427(87)90125-7), missing with a single class.

    vectors: (n, d) float32, as they are compared. labels: (n,) int.
    """
    present = [(label, name) for label, name in enumerate(classes) if label in labels]
    centroids = {name: vectors[labels == label].mean(axis=0, dtype=np.float64) for label, name in present}
    spread: dict[str, object] = {
        "to_centroid": {
            name: describe_values(np.linalg.norm(vectors[labels == label] - centroids[name], axis=1))
            for label, name in present
        },
        "between_centroids": {
            f"{a}, {b}": float(np.linalg.norm(centroids[a] - centroids[b]))
            for a, b in combinations(centroids, 2)
        },
    }
    if 1 < len(present) < len(labels):
        sample = min(SILHOUETTE_ROWS, len(labels))
        spread["silhouette"] = float(silhouette_score(vectors, labels, sample_size=sample, random_state=0))
    return spread
