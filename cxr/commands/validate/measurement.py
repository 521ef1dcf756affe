"""The metrics of metrics/test.json with intervals, of the most probable class and the released decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxr.commands.validate.intervals import (
    Bounded,
    auc_interval,
    combined,
    proportion,
)
from cxr.core.probabilities import decide
from cxr.evaluation.metrics import weighted_headline
from cxr.evaluation.reliability import scores
from cxr.evaluation.statistics import blocks, interval
from cxr.inference.prevalence import case_weights

RESAMPLES = 2000
FEWEST = 2  # images of a class, below which there is no variance within it
ONE_HALF = "_at_one_half"  # ends names of metrics at 0.5, as in metrics/test.json


@dataclass(frozen=True)
class Sample:
    """labels: (N,) int, indices into `classes`. probabilities: (N, classes) float64. patients: (N,) int from
    0 to their number, None if all images count as independent cases."""

    classes: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray | None = None

    @property
    def counts(self) -> np.ndarray:
        """(classes,) int: images of each class."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def complete(self) -> bool:
        """Whether there are `FEWEST` images of every class, which all metrics but recalls need."""
        return bool(self.counts.min() >= FEWEST)

    def of(self, mask: np.ndarray) -> "Sample":
        """mask: (N,) bool."""
        patients = None if self.patients is None else np.unique(self.patients[mask], return_inverse=True)[1]
        return replace(
            self, labels=self.labels[mask], probabilities=self.probabilities[mask], patients=patients
        )


def decisions(sample: Sample, threshold: float | None) -> dict[str, np.ndarray]:
    """(N,) int decisions by the ending of the names of their metrics: the released decision and, if that has
    another threshold than 0.5, the most probable class."""
    released = {"": decide(sample.probabilities, threshold)}
    if threshold in (None, 0.5):
        return released
    return released | {ONE_HALF: decide(sample.probabilities, None)}


def measure_sample(
    sample: Sample, threshold: float | None, prevalence: Sequence[float] | None
) -> dict[str, Bounded]:
    """Metrics by name; of an incomplete sample the recalls alone. prevalence: of each class, to
    which probabilities refer: for `ece_at_prevalence` (`cxr.evaluation.reliability`)."""
    of_decisions = {
        f"{name}{ending}": value
        for ending, decided in decisions(sample, threshold).items()
        for name, value in _proportions(sample, decided).items()
    }
    if not sample.complete:
        return of_decisions
    name = "auc" if len(sample.classes) == 2 else "auc_ovr_macro"
    ranking = {name: auc_interval(sample.labels, sample.probabilities, sample.patients)}
    known = ranking | of_decisions
    return known | {
        name: value
        for name, value in _bootstrapped(sample, threshold, prevalence).items()
        if name not in known
    }


def _proportions(sample: Sample, decided: np.ndarray) -> dict[str, Bounded]:
    """Recalls, and of a complete sample accuracy, balanced accuracy and with two classes predictive values at
    the sample's prevalence."""
    classes, labels = sample.classes, sample.labels
    right = decided == labels

    def of(mask: np.ndarray) -> Bounded:
        return proportion(right, mask, sample.patients)

    binary = len(classes) == 2
    names = ["specificity", "sensitivity"] if binary else [f"recall_{name}" for name in classes]
    recalls = {name: of(labels == label) for label, name in enumerate(names) if (labels == label).any()}
    if not sample.complete:
        return recalls
    balanced = combined([(1 / len(classes), recall) for recall in recalls.values()])
    measured = {"accuracy": of(labels >= 0), "balanced_accuracy": Bounded(*balanced, "Wilson")} | recalls
    if binary:
        predictive = {"ppv": decided == 1, "npv": decided == 0}
        measured |= {name: of(mask) for name, mask in predictive.items() if mask.any()}
    return measured


def _bootstrapped(
    sample: Sample, threshold: float | None, prevalence: Sequence[float] | None
) -> dict[str, Bounded]:
    """With `RESAMPLES` percentile intervals."""
    values = _weighted(sample, threshold, prevalence, np.ones((1, len(sample.labels))))
    drawn: list[Mapping[str, np.ndarray]] = [
        _weighted(sample, threshold, prevalence, weights)
        for weights in blocks(sample.labels, RESAMPLES, patients=sample.patients)
    ]
    measured = {}
    for name, value in values.items():
        # Both calibration errors are above 0 by chance, the more so in a resample: see `interval`.
        kind = "ece" if name.startswith("ece") else name
        ends = interval(kind, value.item(), np.concatenate([block[name] for block in drawn]))
        measured[name] = Bounded(value.item(), ends["low"], ends["high"], "bootstrap")
    return measured


def _weighted(
    sample: Sample, threshold: float | None, prevalence: Sequence[float] | None, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """(R,) float64 each. weights: (R, N) float, of the images."""
    classes, labels, probabilities = sample.classes, sample.labels, sample.probabilities
    thresholds = None if threshold is None else np.array([threshold])
    metrics = weighted_headline(labels, probabilities, classes, thresholds, weights)
    metrics["log_loss"] = scores(labels, probabilities, weights)["nll"]
    if prevalence is not None:
        weighted = weights * case_weights(labels, np.array(prevalence))
        metrics["ece_at_prevalence"] = scores(labels, probabilities, weighted)["ece"]
    if threshold not in (None, 0.5):
        positive, truth = decide(probabilities, None) == 1, labels == 1
        both, either = weights @ (positive & truth), weights @ (1.0 * positive + truth)
        metrics[f"f1_{classes[1]}{ONE_HALF}"] = 2 * both / either
    return metrics
