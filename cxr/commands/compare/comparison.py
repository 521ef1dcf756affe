"""Is one run better than another, or is the difference chance? Both are evaluated on the same radiographs.

Compared are the means over members (`cxr.commands.compare.estimate`), at the released decision of each run.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from cxr.commands.compare.estimate import LEVEL, Design, Estimate, compared_members, estimate
from cxr.commands.compare.matching import SPLITS
from cxr.core.probabilities import decide
from cxr.evaluation.delong import LOWER_IS_BETTER, contributions
from cxr.evaluation.statistics import holm
from cxr.inference.predictions import Predictions

Thresholds = tuple[float | None, float | None]


def mcnemar(newly_misclassified: int, newly_correct: int) -> float:
    """The exact two-sided p-value of McNemar's test (1947) that both numbers of discordant pairs are equally
    probable."""
    total = newly_misclassified + newly_correct
    return float(binomtest(newly_correct, total).pvalue) if total else 1.0


@dataclass(frozen=True)
class MetricRow:
    """One metric. a, b: means over members. estimate: of their difference. ensemble...: the same of the
    released ensembles, as two single models. p: the estimate's, for a secondary metric adjusted by Holm's
    method. images_needed, members_needed: to detect a difference of this size, None if no number would.
    detectable: the smallest difference that this comparison could have found, see `Estimate.detectable`."""

    metric: str
    a: float
    b: float
    estimate: Estimate
    ensemble_a: float
    ensemble_b: float
    ensemble: Estimate
    p: float
    images_needed: int | None
    members_needed: int | None
    detectable: float

    @property
    def verdict(self) -> str:
        """One of "better", "worse" and "inconclusive", which it always is with too few members: the
        between-seed variability is unknown."""
        if not self.estimate.testable or self.p >= LEVEL:
            return "inconclusive"
        return "better" if (self.estimate.difference > 0) != (self.metric in LOWER_IS_BETTER) else "worse"


@dataclass(frozen=True)
class Comparison:
    """B against A on one split. rows: the primary metric first. newly_misclassified, newly_correct: (n,) int
    positions in the split of the discordant pairs: radiographs that the ensemble of A classifies correctly
    and that of B does not, and the reverse, by decreasing change of the true class's probability. mcnemar:
    the p-value of their numbers. decisions: (2, N) int, of the ensembles of A and B."""

    split: str
    design: Design
    a: Predictions
    b: Predictions
    rows: list[MetricRow]
    newly_misclassified: np.ndarray
    newly_correct: np.ndarray
    mcnemar: float
    decisions: np.ndarray

    @property
    def compared(self) -> tuple[int, int]:
        """How many members of A and of B the rows are about."""
        counts = len(self.a.members), len(self.b.members)
        return compared_members(self.design, *counts), compared_members(self.design, *counts[::-1])

    @property
    def patients(self) -> bool:
        """Whether patients are known."""
        return self.a.patients is not None or self.b.patients is not None


def compare_runs(a: Predictions, b: Predictions, design: Design, thresholds: Thresholds) -> list[Comparison]:
    """A comparison for each of `SPLITS`. a, b: about the same images (`matching.match_images`), at least two
    of each class in each split. thresholds: of the released decisions of A and B (`decide`)."""
    return [_compare_split(split, a.of(split), b.of(split), design, thresholds) for split in SPLITS]


def _compare_split(
    split: str, a: Predictions, b: Predictions, design: Design, thresholds: Thresholds
) -> Comparison:
    labels, patients = a.labels, a.patients if a.patients is not None else b.patients
    first = len(a.members), len(b.members)
    first = compared_members(design, *first), compared_members(design, *first[::-1])
    members = [
        contributions(labels, side.members[:count], threshold)
        for side, count, threshold in zip((a, b), first, thresholds, strict=True)
    ]
    ensembles = [
        contributions(labels, side.ensemble[None], threshold)
        for side, threshold in zip((a, b), thresholds, strict=True)
    ]
    estimates = {
        name: estimate(members[0][name], members[1][name], labels, design, patients) for name in members[0]
    }
    primary, *secondary = estimates
    adjusted = holm([estimates[name].p for name in secondary])
    rows = []
    for name, p in zip(estimates, [estimates[primary].p, *adjusted], strict=True):
        of_metric = estimates[name]
        level = LEVEL if name == primary else LEVEL / len(secondary)  # Holm's strictest
        rows.append(
            MetricRow(
                name,
                float(members[0][name].values.mean()),
                float(members[1][name].values.mean()),
                of_metric,
                float(ensembles[0][name].values[0]),
                float(ensembles[1][name].values[0]),
                estimate(ensembles[0][name], ensembles[1][name], labels, "same weights", patients),
                p,
                of_metric.images_needed(len(labels), level),
                of_metric.members_needed(level),
                of_metric.detectable(level),
            )
        )
    decisions = np.stack(
        [decide(side.ensemble, limit) for side, limit in zip((a, b), thresholds, strict=True)]
    )
    correct = decisions == labels
    order = -np.abs(true_class_probability(b) - true_class_probability(a))
    newly_misclassified, newly_correct = (
        positions[np.argsort(order[positions], kind="stable")]
        for positions in (np.flatnonzero(correct[0] & ~correct[1]), np.flatnonzero(~correct[0] & correct[1]))
    )
    p = mcnemar(len(newly_misclassified), len(newly_correct))
    return Comparison(split, design, a, b, rows, newly_misclassified, newly_correct, p, decisions)


def true_class_probability(split: Predictions) -> np.ndarray:
    """(N,) float64 from 0 to 1, by the ensemble."""
    return split.ensemble[np.arange(len(split.labels)), split.labels]


def flips(split: Comparison, positions: np.ndarray) -> list[dict[str, Any]]:
    """The radiographs at `positions`, (n,) int: row of the data set, label, and of both ensembles the
    decision and the probability of the label."""
    names, a, b = split.a.classes, split.a, split.b
    return [
        {
            "row": int(a.rows[i]),
            "label": names[a.labels[i]],
            "decision_a": names[split.decisions[0, i]],
            "decision_b": names[split.decisions[1, i]],
            "p_label_a": float(true_class_probability(a)[i]),
            "p_label_b": float(true_class_probability(b)[i]),
        }
        for i in positions
    ]
