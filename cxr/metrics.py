"""Metrics of a classifier's probabilities, with the spread over members and over cases.

With two classes the second one (`classes[1]`) is positive: sensitivity is its recall. Averages carry their
name; a ratio whose denominator is 0 counts as 0, as scikit-learn's `zero_division=0`.
"""

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr.predictions import Predictions


def confusion(labels: np.ndarray, decisions: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) counts; rows are the truth, columns the decision."""
    return np.bincount(labels * classes + decisions, minlength=classes**2).reshape(classes, classes)


def decide(probabilities: np.ndarray, threshold: float | None) -> np.ndarray:
    """(N,) class indices: the most probable class, or with a threshold whether class 1 reaches it."""
    if threshold is None:
        return probabilities.argmax(axis=1)
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def headline(
    labels: np.ndarray, probabilities: np.ndarray, classes: list[str], threshold: float | None
) -> dict[str, float]:
    """The metrics of metrics/test.json. labels: (N,) int; probabilities: (N, classes).

    All but `accuracy_at_threshold` take the most probable class (0.5 with two classes) as the decision.
    Brier score: with two classes the mean squared error of the positive probability, 0 to 1; with more the
    sum over classes, 0 to 2 (Brier, 1950).
    """
    count = len(classes)
    table = confusion(labels, decide(probabilities, None), count)
    recall = _ratio(np.diag(table), table.sum(axis=1))
    precision = _ratio(np.diag(table), table.sum(axis=0))
    f1 = _ratio(2 * np.diag(table), table.sum(axis=1) + table.sum(axis=0))
    truth = np.eye(count)[labels]
    squares = ((probabilities - truth) ** 2).sum(axis=1).mean()
    shared = {
        "balanced_accuracy": recall.mean(),
        "f1_macro": f1.mean(),
        "mcc": _mcc(table),
        "accuracy": np.trace(table) / table.sum(),
    }
    if count > 2:
        specific = {
            "auc_ovr_macro": roc_auc_score(truth, probabilities, average="macro"),
            "average_precision_macro": average_precision_score(truth, probabilities, average="macro"),
            "brier": squares,
        }
    else:
        at_threshold = confusion(labels, decide(probabilities, threshold), count)
        specific = {
            "auc": roc_auc_score(labels, probabilities[:, 1]),
            "average_precision": average_precision_score(labels, probabilities[:, 1]),
            "accuracy_at_threshold": np.trace(at_threshold) / at_threshold.sum(),
            "sensitivity": recall[1],
            "specificity": recall[0],
            f"precision_{classes[1]}": precision[1],
            f"f1_{classes[1]}": f1[1],
            "brier": squares / 2,
        }
    return {name: float(value) for name, value in (specific | shared).items()}


def summarise(
    predictions: Predictions, threshold: float | None, resamples: int
) -> dict[str, dict[str, float]]:
    """For each headline metric: `mean` and `std` (n - 1) over members, the `ensemble`'s value, and `low` and
    `high`, its 95 % percentile interval over `resamples` bootstrap samples of the cases within each class."""
    labels, classes = predictions.labels, predictions.classes
    members = [headline(labels, p, classes, threshold) for p in predictions.members]
    ensemble = headline(labels, predictions.ensemble, classes, threshold)
    samples = [
        headline(labels[rows], predictions.ensemble[rows], classes, threshold)
        for rows in _resamples(labels, resamples)
    ]
    result = {}
    for name, value in ensemble.items():
        of_members = np.array([member[name] for member in members])
        low, high = np.percentile([sample[name] for sample in samples], [2.5, 97.5])
        result[name] = {
            "mean": float(of_members.mean()),
            "std": float(of_members.std(ddof=1)) if len(of_members) > 1 else 0.0,
            "ensemble": value,
            "low": float(low),
            "high": float(high),
        }
    return result


def per_class(labels: np.ndarray, decisions: np.ndarray, classes: list[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and the number of films of each class."""
    table = confusion(labels, decisions, len(classes))
    columns = {
        "precision": _ratio(np.diag(table), table.sum(axis=0)),
        "recall": _ratio(np.diag(table), table.sum(axis=1)),
        "f1": _ratio(2 * np.diag(table), table.sum(axis=1) + table.sum(axis=0)),
        "films": table.sum(axis=1),
    }
    return {
        name: {key: column[i].item() for key, column in columns.items()} for i, name in enumerate(classes)
    }


def top_confusion(labels: np.ndarray, decisions: np.ndarray, classes: list[str]) -> str:
    """The mistake that is made most often, in words."""
    table = confusion(labels, decisions, len(classes))
    mistakes = table - np.diag(np.diag(table))
    if not mistakes.any():
        return "no film is taken for another class"
    actual, taken = divmod(int(mistakes.argmax()), len(classes))
    films = table[actual].sum()
    return f"{classes[actual]} taken for {classes[taken]}: {table[actual, taken]:,} of {films:,} films"


def majority_baseline(labels: np.ndarray) -> float:
    """The accuracy of always naming the most frequent class."""
    return float(np.bincount(labels).max() / len(labels))


def _resamples(labels: np.ndarray, count: int) -> np.ndarray:
    """(count, N) row numbers: drawn with replacement within each class, so that no sample lacks a class."""
    generator = np.random.default_rng(0)
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.concatenate([generator.choice(rows, (count, len(rows))) for rows in groups], axis=1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator != 0)


def _mcc(table: np.ndarray) -> float:
    """Matthews correlation coefficient of a confusion table of any size (Gorodkin, 2004)."""
    total, hits = table.sum(), np.trace(table)
    truth, decided = table.sum(axis=1), table.sum(axis=0)
    spread = np.sqrt(float(total**2 - decided @ decided) * float(total**2 - truth @ truth))
    return float((hits * total - truth @ decided) / spread) if spread else 0.0
