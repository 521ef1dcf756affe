"""metrics/details.json: one split at every threshold, for every class, member and calibration method."""

import numpy as np

from cxr.core.probabilities import decide
from cxr.evaluation.classification import classification_report
from cxr.evaluation.diagnostic_accuracy import diagnostic_accuracy, proportion_interval
from cxr.evaluation.metrics import Summary, confusion
from cxr.evaluation.misclassifications import most_frequent_error
from cxr.evaluation.reliability import calibration_scores
from cxr.inference.calibration import Calibration
from cxr.inference.predictions import Predictions
from cxr.inference.prevalence import class_prevalence, shifted
from cxr.inference.typicality import LIMIT, PARTS


def details(
    split: Predictions,
    summary: Summary,
    released: Calibration,
    methods: dict[str, np.ndarray],
    stated: np.ndarray,
    wanted: np.ndarray,
    resamples: int,
    drawn: np.ndarray | None,
) -> dict[str, object]:
    """The content for one split.

    summary: of `metrics.summarise` for this split. methods: of `platt.calibration_methods`, (N, classes)
    float64 each, for its images. stated, wanted: (classes,) float64, the class prevalences that
    `calibrate.prevalence` and `evaluate.prevalence` declare. drawn: of `decision.threshold_samples`.
    """
    points = {"released": released.threshold, "most_probable": None}
    decisions = {name: decide(split.ensemble, threshold) for name, threshold in points.items()}
    content: dict[str, object] = {
        "temperature": released.temperature,
        "threshold": released.threshold,
        "ensemble": summary.ensemble,
        "members": summary.members,
        "variability": summary.variability(),
        "decisions": {
            name: {
                "confusion": confusion(split.labels, chosen, len(split.classes)),
                "top_confusion": most_frequent_error(split.labels, chosen, split.classes),
                **classification_report(
                    split, points[name], resamples, drawn if name == "released" else None
                ),
            }
            for name, chosen in decisions.items()
        },
        "calibration": {
            "class_prevalence": class_prevalence(split.labels, len(split.classes)),
            "prevalence": stated,
            **{name: _calibration(split, p, stated, resamples) for name, p in methods.items()},
        },
        "shifted": {
            "prevalence": wanted,
            **calibration_scores(
                *(split.labels, shifted(split.ensemble, stated, wanted), resamples),
                prevalence=wanted,
                patients=split.patients,
            ),
        },
    }
    if released.operating_points:
        content["operating_points"] = {
            name: {
                "threshold": threshold,
                **diagnostic_accuracy(
                    split.labels, decide(split.ensemble, threshold), float(wanted[1]), split.patients
                ),
            }
            for name, threshold in released.operating_points.items()
        }
    return content


def flagged(p_values: np.ndarray, split: Predictions) -> dict[str, object]:
    """The proportion of images marked as unlike the training images, with its 95 % interval, for each class
    and by each part alone.

    p_values: (N, 1 + parts) of `cxr.inference.typicality.ValDistances`, for the images of `split`.
    """
    unlike = p_values < LIMIT
    everything = np.ones(len(unlike), bool)
    return {
        "limit": LIMIT,
        "unlike": proportion_interval(unlike[:, 0], everything, split.patients),
        "by_class": {
            name: unlike[split.labels == label, 0].mean()
            for label, name in enumerate(split.classes)
            if (split.labels == label).any()
        },
        "by_part": dict(zip(PARTS, unlike[:, 1:].mean(axis=0), strict=True)),
    }


def _calibration(
    split: Predictions, probabilities: np.ndarray, stated: np.ndarray, resamples: int
) -> dict[str, dict[str, float]]:
    """Over the images as they are, and as `..._at_prevalence` weighted to the class prevalences `stated`."""
    labels, patients = split.labels, split.patients
    weighted = calibration_scores(labels, probabilities, resamples, prevalence=stated, patients=patients)
    return calibration_scores(labels, probabilities, resamples, patients=patients) | {
        f"{name}_at_prevalence": value for name, value in weighted.items()
    }
