"""Metrics of a classifier's probabilities, with their variability between seeds and between cases.

With two classes the second one (`classes[1]`) is positive: sensitivity is its recall. Averages carry their
name; a ratio whose denominator is 0 counts as 0, as scikit-learn's `zero_division=0`.
"""

from dataclasses import dataclass

import numpy as np

from cxr.core.probabilities import decide
from cxr.evaluation.curves import areas, ranked_counts
from cxr.evaluation.delong import auc_contributions, case_variance
from cxr.evaluation.reliability import scores
from cxr.evaluation.statistics import Z, blocks, interval
from cxr.inference.predictions import Predictions


def confusion(labels: np.ndarray, decisions: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) int counts: row of the true class, column of the decision.

    labels, decisions: (N,) int, 0 to `classes` - 1.
    """
    return np.bincount(labels * classes + decisions, minlength=classes**2).reshape(classes, classes)


def headline(
    labels: np.ndarray, probabilities: np.ndarray, classes: list[str], threshold: float | None
) -> dict[str, float]:
    """The metrics of metrics/test.json. labels: (N,) int; probabilities: (N, classes).

    The decision is the released one (see `decide`), but for `accuracy_at_one_half`. `nll` (log loss),
    `brier` and `ece` are those of `cxr.evaluation.reliability.scores`, over the images as they are.
    """
    thresholds = None if threshold is None else np.array([threshold])
    metrics = weighted_headline(labels, probabilities, classes, thresholds, np.ones((1, len(labels))))
    return {name: float(value[0]) for name, value in metrics.items()}


def weighted_headline(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: list[str],
    thresholds: np.ndarray | None,
    weights: np.ndarray,
) -> dict[str, np.ndarray]:
    """`headline` for each row of `weights`, (R, N) float, of the images: (R,) float64 each. thresholds: (R,)
    float, of the decision for each row, or (1,) for all; None: the most probable class."""
    count = len(classes)
    most_probable = decision_tables(labels, probabilities, None, weights)
    tables = decision_tables(labels, probabilities, thresholds, weights)
    hits, truth = _diagonal(tables), tables.sum(axis=2)
    precision, recall, f1 = precision_recall_f1(tables)
    reliability = scores(labels, probabilities, weights)
    shared = {
        "nll": reliability["nll"],
        "brier": reliability["brier"],
        "ece": reliability["ece"],
        "balanced_accuracy": recall.mean(axis=1),
        "f1_macro": f1.mean(axis=1),
        "f1_weighted": (f1 * truth).sum(axis=1) / weights.sum(axis=1),
        "mcc": _mcc(tables),
        "accuracy": hits.sum(axis=1) / weights.sum(axis=1),
    }
    if count > 2:
        curves = [areas(*ranked_counts(labels == c, probabilities[:, c], weights)) for c in range(count)]
        area, average_precision = np.mean(curves, axis=0)
        return {"auc_ovr_macro": area, "average_precision_macro": average_precision} | shared
    area, average_precision = areas(*ranked_counts(labels == 1, probabilities[:, 1], weights))
    return {
        "auc": area,
        "average_precision": average_precision,
        "accuracy_at_one_half": _diagonal(most_probable).sum(axis=1) / weights.sum(axis=1),
        "sensitivity": recall[:, 1],
        "specificity": recall[:, 0],
        f"precision_{classes[1]}": precision[:, 1],
        f"f1_{classes[1]}": f1[:, 1],
    } | shared


@dataclass(frozen=True)
class Summary:
    """A split's headline metrics: of each member, of the ensemble, and of the ensemble on R resamples of the
    cases, (R,) float64 each. delong: of the ensemble's AUC, see `delong`; None if a class has one image."""

    members: list[dict[str, float]]
    ensemble: dict[str, float]
    samples: dict[str, np.ndarray]
    delong: dict[str, float] | None

    def headline(self) -> dict[str, dict[str, float]]:
        """For each metric: `mean` and `std` (n - 1) over members, the `ensemble`'s value, and `low` and
        `high`, its 95 % interval (`statistics.interval`) over resamples of the cases of each class."""
        result = {}
        for name, value in self.ensemble.items():
            of_members = np.array([member[name] for member in self.members])
            result[name] = {
                "mean": float(of_members.mean()),
                "std": float(of_members.std(ddof=1)) if len(of_members) > 1 else 0.0,
                "ensemble": value,
                **interval(name, value, self.samples[name]),
            }
        return result

    def variability(self) -> dict[str, dict[str, float | dict[str, float]]]:
        """The two sources of variability of each metric, separately:

        between_seed_sd: the standard deviation (n - 1) over members, which differ in their seed alone, on
        these images; left out if there is one member. That of an ensemble is smaller.
        between_case_se, low, high: the standard error and the 95 % interval (`statistics.interval`) of the
        ensemble over bootstrap samples of the images within each class; the training is taken as given.
        delong (of the AUC): the same from DeLong's variance, the interval symmetric and cut at 0 and 1; left
        out if a class has a single image.
        """
        result: dict[str, dict[str, float | dict[str, float]]] = {}
        for name, samples in self.samples.items():
            result[name] = {
                "between_case_se": float(samples.std(ddof=1)),
                **interval(name, self.ensemble[name], samples),
            }
            if len(self.members) > 1:
                result[name]["between_seed_sd"] = float(
                    np.std([member[name] for member in self.members], ddof=1)
                )
        if self.delong:
            result["auc" if "auc" in result else "auc_ovr_macro"]["delong"] = self.delong
        return result


def summarise(
    predictions: Predictions, threshold: float | None, resamples: int, thresholds: np.ndarray | None = None
) -> Summary:
    """resamples: bootstrap samples of the cases within each class, of patients where they are known
    (`statistics.blocks`). thresholds: (resamples,) float, that of
    the decision on each of them, by which intervals include the threshold's uncertainty
    (`cxr.evaluation.decision`); None: `threshold` for all."""
    labels, ensemble, classes = predictions.labels, predictions.ensemble, predictions.classes
    drawn = thresholds if thresholds is not None or threshold is None else np.full(resamples, threshold)
    blocks_of: list[dict[str, np.ndarray]] = []
    for counts in blocks(labels, resamples, patients=predictions.patients):
        done = sum(len(block["accuracy"]) for block in blocks_of)
        of_block = None if drawn is None else drawn[done : done + len(counts)]
        blocks_of.append(weighted_headline(labels, ensemble, classes, of_block, counts))
    return Summary(
        members=[headline(labels, p, classes, threshold) for p in predictions.members],
        ensemble=headline(labels, ensemble, classes, threshold),
        samples={name: np.concatenate([block[name] for block in blocks_of]) for name in blocks_of[0]},
        delong=delong(predictions) if np.bincount(labels).min() > 1 else None,
    )


def delong(predictions: Predictions) -> dict[str, float]:
    """`between_case_se`, `low` and `high` of the ensemble's AUC by DeLong's variance
    (`cxr.evaluation.delong`), with more than two classes of the mean of one-vs-rest AUCs; the interval is
    symmetric, cut at 0 and 1."""
    first = 1 if len(predictions.classes) == 2 else 0
    shown = np.arange(first, len(predictions.classes))
    area = auc_contributions(predictions.labels[:, None] == shown, predictions.ensemble[None, :, shown])
    error = float(np.sqrt(case_variance(area.images, predictions.labels, predictions.patients)[0]))
    value = float(area.values[0])
    return {"between_case_se": error, "low": max(0.0, value - Z * error), "high": min(1.0, value + Z * error)}


def majority_baseline(labels: np.ndarray) -> float:
    """The accuracy of a classifier that always answers the most frequent class, 0 to 1."""
    return float(np.bincount(labels).max() / len(labels))


def decision_tables(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray | None, weights: np.ndarray
) -> np.ndarray:
    """(R, classes, classes) float64: `confusion` of the images weighted by each row of `weights`, (R, N)
    float, decided at `thresholds` as in `weighted_headline`."""
    classes = probabilities.shape[1]
    if thresholds is None:
        cells = np.eye(classes**2)[labels * classes + decide(probabilities, None)]
        return (weights @ cells).reshape(-1, classes, classes)
    positive = weights * (probabilities[:, 1] >= thresholds[:, None])
    of_class = np.eye(2)[labels]
    called, total = positive @ of_class, weights @ of_class
    return np.stack([total - called, called], axis=2)


def precision_recall_f1(tables: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each class, (R, classes) float64 each. tables: (R, classes, classes) of `decision_tables`."""
    hits, truth, decided = _diagonal(tables), tables.sum(axis=2), tables.sum(axis=1)
    return _ratio(hits, decided), _ratio(hits, truth), _ratio(2 * hits, truth + decided)


def _diagonal(tables: np.ndarray) -> np.ndarray:
    return np.diagonal(tables, axis1=1, axis2=2)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator != 0)


def _mcc(tables: np.ndarray) -> np.ndarray:
    """(R,): Matthews correlation coefficient of tables of any size, (R, C, C) (Gorodkin, 2004)."""
    total, hits = tables.sum(axis=(1, 2)), _diagonal(tables).sum(axis=1)
    truth, decided = tables.sum(axis=2), tables.sum(axis=1)
    denominator = np.sqrt((total**2 - (decided**2).sum(axis=1)) * (total**2 - (truth**2).sum(axis=1)))
    return _ratio(hits * total - (truth * decided).sum(axis=1), denominator)
