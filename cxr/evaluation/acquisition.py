"""What a model without any lungs knows: the class as told by acquisition features alone.

Exposure, contrast and framing differ between the classes of a data set for reasons that are not the disease
(shortcuts: Geirhos et al., 2020, https://arxiv.org/abs/2004.07780). A logistic regression on such features
measures how far they go, and finds the images in which they point to the wrong class.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cxr.core.dataset import Dataset
from cxr.evaluation.metrics import summarise
from cxr.inference.predictions import Predictions

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
BORDER = 1 / 14  # width of a border, as a fraction of the image side
FOLDS = 5
LEAST = 15  # training images of a class, as many as there are features, below which nothing is fitted


def acquisition_features(images: np.ndarray) -> np.ndarray:
    """(N, 15) float64 in [0, 1]: nine quantiles of the grey levels, their mean and standard deviation, and
    the mean brightness of the upper, lower, left and right border. images: (N, H, W) uint8."""
    width = max(1, round(images.shape[1] * BORDER))
    borders = (np.s_[:, :width], np.s_[:, -width:], np.s_[:, :, :width], np.s_[:, :, -width:])
    columns = [
        *np.quantile(images.reshape(len(images), -1), QUANTILES, axis=1),
        images.mean(axis=(1, 2)),
        images.std(axis=(1, 2)),
        *(images[border].mean(axis=(1, 2)) for border in borders),
    ]
    return np.stack(columns, axis=1) / 255


def acquisition_model() -> Pipeline:
    """The logistic regression, with balanced classes; fit it to `acquisition_features`."""
    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))


def acquisition_baseline(
    data: Dataset, resamples: int, splits: tuple[str, ...] = ("val", "test")
) -> dict[str, dict[str, dict[str, float]]]:
    """For each of `splits` the AUC (with more than two classes the mean of one-vs-rest AUCs) and the balanced
    accuracy of the most probable class, of `acquisition_model` fitted to train alone.

    `value`, and `low` and `high` of the 95 % bootstrap interval over images within each class, by the same
    code and under the same names as the classifier's. Empty if a class has fewer than `LEAST` training
    images.
    """
    train = data.rows("train")
    if np.bincount(data.labels[train], minlength=len(data.classes)).min() < LEAST:
        return {}
    model = acquisition_model().fit(acquisition_features(data.images[train]), data.labels[train])
    result = {}
    for split in splits:
        rows = data.rows(split)
        p = model.predict_proba(acquisition_features(data.images[rows]))
        table = Predictions(data.classes, rows, data.splits[rows], data.labels[rows], p, p[None])
        summary = summarise(table, 0.5 if len(data.classes) == 2 else None, resamples).headline()
        result[split] = {
            name: {"value": value["ensemble"], "low": value["low"], "high": value["high"]}
            for name, value in summary.items()
            if name in ("auc", "auc_ovr_macro", "balanced_accuracy")
        }
    return result


def cross_validated(images: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(N,) float64 in [0, 1]: of each image the probability of its own class, by a model that was fitted to
    images of other groups. groups: (N,) the patient, or what else must not be on both sides of a fold."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    probabilities = cross_val_predict(
        acquisition_model(), acquisition_features(images), labels, groups=groups, cv=folds,
        method="predict_proba",
    )  # fmt: skip
    return probabilities[np.arange(len(labels)), labels]


def shortcut_conflicting(of_own_class: np.ndarray, labels: np.ndarray, fraction: float) -> np.ndarray:
    """(N,) bool: of each class the `fraction` of images that acquisition features get most wrong.

    of_own_class: (N,) as from `cross_validated`."""
    conflicting = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ascending = members[np.argsort(of_own_class[members], kind="stable")]
        conflicting[ascending[: round(fraction * len(members))]] = True
    return conflicting
