"""Sub-classes: k-means within the classes of the training split, and the assignment of images to them.

Vilalta & Rish, 2003, "A decomposition of classes via clustering to explain and improve naive Bayes".
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, pairwise_distances_argmin, silhouette_score

from cxr.core.dataset import Dataset
from cxr.core.errors import UserError
from cxr.core.files import read_json

STABILITY_RUNS = 5  # k-means runs with other seeds, of which the stability is computed
SILHOUETTE_ROWS = 5000  # the silhouette compares all pairs; a sample of this size bounds it


@dataclass(frozen=True)
class Clusters:
    """assignment: (n,) int64, index of a centroid. centroids: (k, d) float32. silhouette: mean silhouette
    coefficient, -1 to 1. stability: mean adjusted Rand index between other seeds, -1 to 1."""

    assignment: np.ndarray
    centroids: np.ndarray
    silhouette: float
    stability: float


def chosen_classes(setting: str | list[str], labels: np.ndarray, classes: list[str]) -> list[str]:
    """The names of the classes to split. setting: cluster.classes of params.yaml. labels: (n,) int of the
    training rows.

    Raises `UserError` if `setting` names a class that the data set does not have.
    """
    if setting == "all":
        return classes
    if setting == "majority":
        return [classes[int(np.bincount(labels, minlength=len(classes)).argmax())]]
    unknown = [name for name in setting if name not in classes]
    if unknown:
        raise UserError(
            f"params.yaml: cluster.classes names {unknown[0]!r}; the classes are {', '.join(classes)}"
        )
    return [name for name in classes if name in setting]


def find_clusters(points: np.ndarray, k: int | str, k_max: int, seed: int) -> Clusters:
    """k-means on `points`, (n, d) float32; k "auto" takes the k from 2 to `k_max` with the highest silhouette
    coefficient (Rousseeuw, 1987, https://doi.org/10.1016/0377-0427(87)90125-7).

    Stability is the mean adjusted Rand index between all pairs of five runs with other seeds. Raises
    `UserError` unless there are more distinct points than clusters.
    """
    largest = k_max if k == "auto" else int(k)
    distinct = len(np.unique(points, axis=0))
    if largest >= distinct:
        key = "cluster.k_max" if k == "auto" else "cluster.k"
        raise UserError(
            f"params.yaml: {key} is {largest}, but the class has {distinct} different training radiographs"
        )
    candidates = range(2, k_max + 1) if k == "auto" else (int(k),)
    fits = [KMeans(number, n_init=10, random_state=seed).fit(points) for number in candidates]
    scores = [_silhouette(points, fit.labels_) for fit in fits]
    best = int(np.argmax(scores))
    fit, number = fits[best], candidates[best]
    # n_init=1: stability is about the variability of single runs, which the best of ten hides.
    others = [
        KMeans(number, n_init=1, random_state=(seed + 1 + i) % 2**32).fit(points).labels_
        for i in range(STABILITY_RUNS)
    ]
    agreement = [adjusted_rand_score(a, b) for a, b in combinations(others, 2)]
    return Clusters(
        assignment=fit.labels_.astype(np.int64),
        centroids=fit.cluster_centers_.astype(np.float32),
        silhouette=scores[best],
        stability=float(np.mean(agreement)),
    )


def _silhouette(points: np.ndarray, assignment: np.ndarray) -> float:
    sample = min(SILHOUETTE_ROWS, len(points))
    return float(silhouette_score(points, assignment, sample_size=sample, random_state=0))


def subclass_of_each(data: Dataset) -> np.ndarray:
    """(N,) str: of the sub-classes of each image's class the one with the nearest centroid, which is how
    k-means has assigned the training images; "" for a class without sub-classes."""
    points, centroids = np.load("data/embeddings.npy"), np.load("data/centroids.npy")
    names = np.full(len(points), "", dtype=object)
    start = 0
    for name, clusters in read_json("metrics/cluster.json").items():
        rows = np.flatnonzero(data.labels == data.classes.index(name))
        nearest = pairwise_distances_argmin(points[rows], centroids[start : start + clusters["k"]])
        names[rows] = [f"{name}_{number}" for number in nearest]
        start += clusters["k"]
    return names
