"""Split classes into sub-classes by k-means on the embeddings of the training radiographs, and draw them.

Find the training radiographs that conflict with the shortcut, too (see `cxr.evaluation.acquisition`).
"""

import numpy as np
from threadpoolctl import threadpool_limits

from cxr.core.dataset import LABELS, load_dataset
from cxr.core.errors import run
from cxr.core.files import read_csv, write_csv, write_json, write_npy
from cxr.embeddings.subclasses import Clusters, chosen_classes, find_clusters
from cxr.evaluation.acquisition import cross_validated, shortcut_conflicting
from cxr.figures import charts
from cxr.figures.radiographs import image_rows
from cxr.params import load_params


def main() -> None:
    params = load_params()
    data = load_dataset()
    embeddings = np.load("data/embeddings.npy")
    train = data.rows("train")
    labels = data.labels[train]

    names = np.array(data.classes)[labels].astype(object)
    clusters_of: dict[str, Clusters] = {}
    for name in chosen_classes(params.cluster.classes, labels, data.classes):
        inside = labels == data.classes.index(name)
        clusters = find_clusters(
            embeddings[train][inside], params.cluster.k, params.cluster.k_max, params.seed
        )
        names[inside] = [f"{name}_{number}" for number in clusters.assignment]
        clusters_of[name] = clusters

    of_each = np.array([row["group"] or row["sha256"] for row in read_csv(LABELS)])
    conflicting = shortcut_conflicting(cross_validated(data.images[train], labels, of_each[train]), labels)
    columns = ("row", "subclass", "conflicting")
    write_csv("data/subclasses.csv", columns, zip(train, names, conflicting.astype(int), strict=True))
    write_npy("data/centroids.npy", np.concatenate([clusters.centroids for clusters in clusters_of.values()]))
    write_json("metrics/cluster.json", {name: summary(clusters) for name, clusters in clusters_of.items()})

    before = {name: int(np.sum(labels == i)) for i, name in enumerate(data.classes)}
    after = {str(name): int(np.sum(names == name)) for name in sorted(set(names))}
    charts.class_counts(
        "plots/subclass_counts.png",
        {"before: classes": before, "after: sub-classes": after},
        "Training radiographs before and after decomposition into sub-classes",
    )
    charts.projection("plots/subclasses.png", embeddings[train], names, list(before | after))
    nearest = {
        f"{name}_{number}": nearest_to_centroid(
            embeddings[train], data.images, train, names == f"{name}_{number}", centroid
        )
        for name, clusters in clusters_of.items()
        for number, centroid in enumerate(clusters.centroids)
    }
    image_rows("plots/centroids.png", nearest, "Training radiographs nearest the centroid of each sub-class")
    print(", ".join(f"{name} {count:,}" for name, count in after.items()))


def summary(clusters: Clusters) -> dict[str, object]:
    return {
        "k": len(clusters.centroids),
        "sizes": np.bincount(clusters.assignment).tolist(),
        "silhouette": clusters.silhouette,
        "stability": clusters.stability,
    }


def nearest_to_centroid(
    points: np.ndarray, images: np.ndarray, rows: np.ndarray, inside: np.ndarray, centroid: np.ndarray
) -> list[np.ndarray]:
    """The eight images nearest the `centroid`, (d,), of one sub-class, nearest first.

    points: (n, d) float. rows: (n,) int, of `images`. inside: (n,) bool, the members of the sub-class.
    """
    distance = np.linalg.norm(points[inside] - centroid, axis=1)
    return [images[row] for row in rows[inside][np.argsort(distance, kind="stable")[:8]]]


if __name__ == "__main__":
    with threadpool_limits(1):  # more threads add up in another order, and the bytes would follow the machine
        run(main)
