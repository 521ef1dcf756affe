"""Shift between splits: domain classifier AUC and energy distance between two samples of images.

Two samples are points, (N, d) float, with a mask `second`, (N,) bool, of those in the second sample.
"""

from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import interpolate

from cxr.core.dataset import SPLITS, Dataset

COMPONENTS = 64  # principal components of the images that are compared
SIDE = 28  # pixels a side that are compared; larger images are resized
FOLDS = 5
PERMUTATIONS = 499
MOST = 1000  # images of one class and split that are compared; the time grows with their square


def drawn_rows(data: Dataset) -> np.ndarray:
    """Row numbers, ascending, of the images to compare: all, or 1,000 drawn from a class in a split."""
    generator = np.random.default_rng(0)
    drawn = []
    for split in SPLITS:
        rows = data.rows(split)
        for label in range(len(data.classes)):
            drawn.append(generator.permutation(rows[data.labels[rows] == label])[:MOST])
    return np.sort(np.concatenate(drawn))


def compare_splits(
    data: Dataset, rows: np.ndarray, embeddings: np.ndarray, groups: np.ndarray
) -> dict[str, Any]:
    """metrics/shift.json: for two spaces, each pair of splits and each class, the AUC of a classifier that is
    to distinguish the splits, with its range under no shift, and their energy distance.

    rows: (n,) see `drawn_rows`. embeddings: (n, d) float, the classifier's, which was fitted to the training
    images: in this space train may differ although its images do not. groups: (n,) see `domain_auc`. A
    class is left out of a pair in which a split has fewer than two groups of it.
    """
    splits, labels = data.splits[rows], data.labels[rows]
    train = np.flatnonzero(splits == "train")
    images = shrunk(data.images[rows])
    most = min(COMPONENTS, len(train))
    flat = images.reshape(len(images), -1).astype(np.float64)
    of_pixels = make_pipeline(StandardScaler(), _components(min(most, flat.shape[1]))).fit(flat[train])
    of_embeddings = _components(min(most, embeddings.shape[1])).fit(embeddings[train])
    spaces = {"pixels": of_pixels.transform(flat), "embeddings": of_embeddings.transform(embeddings)}
    report: dict[str, Any] = {}
    for space, points in spaces.items():
        for pair in combinations(SPLITS, 2):
            classes = {}
            for label, name in enumerate(data.classes):
                members = np.flatnonzero(np.isin(splits, pair) & (labels == label))
                second = splits[members] == pair[1]
                if folds(second, groups[members]) >= 2:
                    classes[name] = compare_samples(points[members], second, groups[members])
            report.setdefault(space, {})["_".join(pair)] = classes
    return report


def _components(count: int) -> PCA:
    return PCA(count, svd_solver="covariance_eigh")


def compare_samples(points: np.ndarray, second: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """One entry of metrics/shift.json; `chance_low` and `chance_high`: the AUCs of `chance_band`."""
    low, high = chance_band(second)
    distance, p_value = energy_distance(points, second)
    return {
        "auc": domain_auc(points, second, groups),
        "chance_low": low,
        "chance_high": high,
        "energy_distance": distance,
        "p_value": p_value,
    }


def shrunk(images: np.ndarray) -> np.ndarray:
    """(N, H, W) uint8 resized to `SIDE` x `SIDE` pixels, unless they are that small already."""
    if images.shape[1] <= SIDE:
        return images
    grey = torch.from_numpy(images).unsqueeze(1).to(torch.float32)
    small = interpolate(grey, [SIDE, SIDE], mode="bilinear", antialias=True)
    return small.squeeze(1).round().to(torch.uint8).numpy()


def folds(second: np.ndarray, groups: np.ndarray) -> int:
    """The number of folds that `domain_auc` can have, at most 5; it needs 2, so two groups in each sample."""
    return min(FOLDS, *(len(np.unique(groups[second == side])) for side in (False, True)))


def domain_auc(points: np.ndarray, second: np.ndarray, groups: np.ndarray) -> float:
    """Cross-validated AUC of a logistic regression that is to distinguish the second sample from the first
    (classifier two-sample test: Lopez-Paz & Oquab, 2017, https://arxiv.org/abs/1610.06545).

    0.5: no shift that a linear function of these points could detect; other features of the same images may
    show one. 1: perfect separation. groups: (N,) what must not be on both sides of a fold, such as a patient,
    whom the classifier would recognise; where patients are unknown the AUC is too high.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    splitter = StratifiedGroupKFold(folds(second, groups), shuffle=True, random_state=0)
    scores = cross_val_predict(model, points, second, groups=groups, cv=splitter, method="decision_function")
    return float(roc_auc_score(second, scores))


def chance_band(second: np.ndarray) -> tuple[float, float]:
    """The 95 % range of the AUC under no shift: the normal approximation of the Mann-Whitney statistic
    (1947), for images that are independent of each other."""
    m, n = np.sum(~second), np.sum(second)
    half = float(norm.ppf(0.975) * np.sqrt((m + n + 1) / (12 * m * n)))
    return 0.5 - half, 0.5 + half


def energy_distance(points: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """The energy distance (Szekely & Rizzo, 2013, https://doi.org/10.1016/j.jspi.2013.03.018) and the p-value
    of its permutation test.

    The distance is relative to the mean distance between points of the two samples: about 0 if their
    distributions are equal (also below, since it is unbiased), 1 if each sample is a single location. Each
    sample needs two points.
    """
    generator = np.random.default_rng(0)
    distances = cdist(points, points).astype(np.float32)
    drawn = [second, *(generator.permutation(second) for _ in range(PERMUTATIONS))]
    values = _relative_energy(distances, np.stack(drawn, axis=1).astype(np.float32))
    return float(values[0]), float((values >= values[0]).mean())


def _relative_energy(distances: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P,) for each column of `second`, (N, P) of 0 and 1. distances: (N, N)."""
    n = second.sum(axis=0)
    m = len(second) - n
    to_second = distances @ second
    within_second = (second * to_second).sum(axis=0)
    between = to_second.sum(axis=0) - within_second
    within_first = distances.sum() - 2 * between - within_second
    across = 2 * between / (m * n)
    return (across - within_first / (m * (m - 1)) - within_second / (n * (n - 1))) / across
