"""What acquisition features alone reach on val and test, as the least that a classifier has to be beyond."""

import numpy as np

from cxr.core.dataset import Dataset
from cxr.evaluation.acquisition import acquisition_features, acquisition_model
from cxr.evaluation.metrics import summarise
from cxr.inference.predictions import Predictions

LEAST = 15  # training images of a class, as many as there are features, below which nothing is fitted


def acquisition_baseline(
    data: Dataset, resamples: int, splits: tuple[str, ...] = ("val", "test")
) -> dict[str, dict[str, dict[str, float]]]:
    """For each of `splits` the AUC (with more than two classes the mean of one-vs-rest AUCs) and the balanced
    accuracy of the most probable class, of `acquisition_model` fitted to train alone.

    `value`, and `low` and `high` of the 95 % bootstrap interval over images within each class (over patients
    where they are known), by the same code and under the same names as the classifier's. Empty if a class has
    fewer than `LEAST` training images.
    """
    train = data.rows("train")
    if np.bincount(data.labels[train], minlength=len(data.classes)).min() < LEAST:
        return {}
    model = acquisition_model().fit(acquisition_features(data.images[train]), data.labels[train])
    result = {}
    for split in splits:
        rows = data.rows(split)
        p = model.predict_proba(acquisition_features(data.images[rows]))
        table = Predictions(
            *(data.classes, rows, data.splits[rows], data.labels[rows], p, p[None]),
            patients=None if data.patients is None else data.patients[rows],
        )
        summary = summarise(table, 0.5 if len(data.classes) == 2 else None, resamples).headline()
        result[split] = {
            name: {"value": value["ensemble"], "low": value["low"], "high": value["high"]}
            for name, value in summary.items()
            if name in ("auc", "auc_ovr_macro", "balanced_accuracy")
        }
    return result
