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

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
BORDER = 1 / 14  # width of a border, as a fraction of the image side
FOLDS = 5
CONFLICTING = 0.15  # of the images of a class


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


def cross_validated(images: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(N,) float64 in [0, 1]: of each image the probability of its own class, by a model that was fitted to
    images of other groups. labels: (N,) int, 0 to the number of classes - 1. groups: (N,) the patient, or
    what else must not be on both sides of a fold.

    Raises ValueError if a class has a single group.
    """
    fewest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
    probabilities = cross_val_predict(
        acquisition_model(),
        acquisition_features(images),
        labels,
        groups=groups,
        cv=folds,
        method="predict_proba",
    )
    return probabilities[np.arange(len(labels)), labels]


def shortcut_conflicting(
    of_own_class: np.ndarray, labels: np.ndarray, fraction: float = CONFLICTING
) -> np.ndarray:
    """(N,) bool: of each class the `fraction` of images that acquisition features get most wrong.

    of_own_class: (N,) as from `cross_validated`.
    """
    conflicting = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ascending = members[np.argsort(of_own_class[members], kind="stable")]
        conflicting[ascending[: round(fraction * len(members))]] = True
    return conflicting
