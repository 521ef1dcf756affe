"""The sub-class of every film, by the centroids that the stage cluster found on the training films."""

import numpy as np
from sklearn.metrics import pairwise_distances_argmin

from cxr.data.packed import Packed
from cxr.files import read_json


def of_films(data: Packed) -> np.ndarray:
    """(N,) str: of the sub-classes of a film's class, the one with the nearest centroid; "" for a class that
    has none. That is the rule by which k-means has given the training films theirs.
    """
    points, centroids = np.load("data/embeddings.npy"), np.load("data/centroids.npy")
    names = np.full(len(points), "", dtype=object)
    start = 0
    for name, found in read_json("metrics/cluster.json").items():
        mine = np.flatnonzero(data.labels == data.classes.index(name))
        nearest = pairwise_distances_argmin(points[mine], centroids[start : start + found["k"]])
        names[mine] = [f"{name}_{number}" for number in nearest]
        start += found["k"]
    return names
