"""Is one run better than another, or is the difference chance? Both are evaluated on the same radiographs.

What is compared is the mean over members (networks that differ in their seed). The variance of the difference
of two means is the sum of a between-case part, the covariance of members that are evaluated on the same
radiographs, and a between-seed part, s^2 / m of each side. That is the method of Obuchowski & Rockette (1995)
with readers nested within tests, as described by Hillis, 2014, https://doi.org/10.1002/sim.5926, with the
degrees of freedom of Welch and Satterthwaite, since s^2 may differ between the sides. Adding s^2 / m to the
total case variance of the difference would count the interaction of member and case twice and have little
power: see benchmarks/compare_false_alarms.py.

Members of A and of B are treated as independent. If they share seeds, the variance is overestimated at worst.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t

from cxr.core.errors import UserError
from cxr.evaluation.delong import LOWER_IS_BETTER, Contributions, case_variance, contributions
from cxr.evaluation.statistics import holm
from cxr.inference.predictions import Predictions

LEVEL = 0.05  # two-sided significance level
POWER = 0.8  # for the numbers of radiographs and members needed
MOST_MEMBERS = 10_000
SPLITS = ("test", "val")


@dataclass(frozen=True)
class Estimate:
    """The difference B - A of a metric's means over members, and the components of its variance.

    between_case: the part that members of a side share because they are evaluated on the same radiographs;
    only more radiographs reduce it. between_seed: s^2 over the members of A and of B. interaction: the part
    of each s^2 that is due to these radiographs (interaction of member and case), which more radiographs
    reduce as well. members: the number of members of A and of B.

    With a single member on a side between_seed and interaction are unknown and 0, and between_case is the
    total case variance of the difference between these two models (DeLong's, for AUC).
    """

    difference: float
    between_case: float
    between_seed: tuple[float, float]
    interaction: tuple[float, float]
    members: tuple[int, int]

    @property
    def single(self) -> bool:
        return min(self.members) == 1

    @property
    def seed_variance(self) -> float:
        """The between-seed part of the variance of the difference: the sum of s^2 / m."""
        return self.between_seed[0] / self.members[0] + self.between_seed[1] / self.members[1]

    @property
    def irreducible(self) -> float:
        """What would remain of `seed_variance` with any number of radiographs."""
        return sum(
            max(s - i, 0.0) / m
            for s, i, m in zip(self.between_seed, self.interaction, self.members, strict=True)
        )

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.between_case + self.seed_variance)

    @property
    def degrees_of_freedom(self) -> float:
        """After Welch and Satterthwaite; the between-case part counts as known. May be infinite."""
        parts = [(s / m) ** 2 / (m - 1) for s, m in zip(self.between_seed, self.members, strict=True) if s]
        return (self.between_case + self.seed_variance) ** 2 / sum(parts) if parts else math.inf

    @property
    def interval(self) -> tuple[float, float]:
        half = float(t.ppf(1 - LEVEL / 2, self.degrees_of_freedom)) * self.standard_error
        return self.difference - half, self.difference + half

    @property
    def p(self) -> float:
        """Two-sided p-value of no difference."""
        if not self.standard_error:
            return float(self.difference == 0)
        return float(2 * t.sf(abs(self.difference) / self.standard_error, self.degrees_of_freedom))

    def images_needed(self, images: int, level: float) -> int | None:
        """How many radiographs in place of `images` would detect a difference of this size at `level` with
        `POWER`; None: no number would.

        The variance over radiographs is assumed to fall with 1 / radiographs.
        """
        degrees = self.degrees_of_freedom
        quantile = float(t.ppf(1 - level / 2, degrees) + t.ppf(POWER, degrees))
        allowed = (self.difference / quantile) ** 2 - self.irreducible
        if allowed <= 0:
            return None
        return math.ceil(images * (self.between_case + self.seed_variance - self.irreducible) / allowed)

    def members_needed(self, level: float) -> int | None:
        """How many members on each side would detect it on the same radiographs; None: not even
        `MOST_MEMBERS`."""
        if not any(self.between_seed):
            return None
        counts = np.arange(2, MOST_MEMBERS + 1)
        variance = self.between_case + sum(self.between_seed) / counts
        squares = sum(s**2 for s in self.between_seed) / counts**2 / (counts - 1)
        degrees = variance**2 / squares
        quantile = t.ppf(1 - level / 2, degrees) + t.ppf(POWER, degrees)
        enough = quantile**2 * variance <= self.difference**2
        return int(counts[enough.argmax()]) if enough.any() else None


def estimate(a: Contributions, b: Contributions, labels: np.ndarray) -> Estimate:
    """a, b: one metric of the members of two sides, on the same radiographs. labels: (N,) int."""
    difference = float(b.values.mean() - a.values.mean())
    total = float(case_variance(b.images.mean(axis=0) - a.images.mean(axis=0), labels))
    members = len(a.values), len(b.values)
    fixed_models = Estimate(difference, total, (0.0, 0.0), (0.0, 0.0), members)
    if fixed_models.single:
        return fixed_models
    between_seed = float(a.values.var(ddof=1)), float(b.values.var(ddof=1))
    if not any(between_seed):
        # All members of a side have equal values. If they err on different radiographs, the shared part may
        # be estimated as 0, and the difference would seem to be known without error.
        return fixed_models
    interaction = member_case_interaction(a, labels), member_case_interaction(b, labels)
    shared = total - interaction[0] / members[0] - interaction[1] / members[1]
    return Estimate(difference, max(shared, 0.0), between_seed, interaction, members)


def member_case_interaction(side: Contributions, labels: np.ndarray) -> float:
    """The mean case variance of a member minus the mean covariance of two members."""
    members = len(side.values)
    own = case_variance(side.images, labels).mean()
    return float((own - case_variance(side.images.mean(axis=0), labels)) * members / (members - 1))


def mcnemar(newly_misclassified: int, newly_correct: int) -> float:
    """The exact two-sided p-value of McNemar's test (1947) that both numbers of discordant pairs are equally
    probable."""
    total, fewer = newly_misclassified + newly_correct, min(newly_misclassified, newly_correct)
    return min(1.0, 2 * sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total)


@dataclass(frozen=True)
class MetricRow:
    """One metric. a, b: means over members. estimate: of their difference. ensemble...: the same of the
    released ensembles, as two single models. p: the estimate's, for a secondary metric adjusted by Holm's
    method. images_needed, members_needed: to detect a difference of this size, None if no number would."""

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

    @property
    def verdict(self) -> str:
        """One of "better", "worse" and "inconclusive", which it always is with a single member on a side:
        the between-seed variability is unknown."""
        if self.estimate.single or self.p >= LEVEL:
            return "inconclusive"
        return "better" if (self.estimate.difference > 0) != (self.metric in LOWER_IS_BETTER) else "worse"


@dataclass(frozen=True)
class Comparison:
    """B against A on one split. rows: the primary metric first. newly_misclassified, newly_correct: (n,) int
    positions in the split of the discordant pairs: radiographs that the ensemble of A classifies correctly
    and that of B does not, and the reverse, by decreasing change of the true class's probability. mcnemar:
    the p-value of their numbers."""

    split: str
    a: Predictions
    b: Predictions
    rows: list[MetricRow]
    newly_misclassified: np.ndarray
    newly_correct: np.ndarray
    mcnemar: float


def compare_runs(a: Predictions, b: Predictions, names: tuple[str, str]) -> list[Comparison]:
    """A comparison for each of `SPLITS`. names: of the two sides, for messages.

    Raises `UserError` if the two are not about the same radiographs, or if a class has fewer than two in a
    split.
    """
    check_same_images(a, b, names)
    return [_compare_split(split, a.of(split), b.of(split)) for split in SPLITS]


def check_same_images(a: Predictions, b: Predictions, names: tuple[str, str]) -> None:
    where = f"metrics/predictions.csv of {names[0]} and of {names[1]}"
    if a.classes != b.classes:
        raise UserError(f"{where}: other classes, {', '.join(a.classes)} and {', '.join(b.classes)}")
    for what, of_a, of_b in (
        ("rows", a.rows, b.rows),
        ("splits", a.splits, b.splits),
        ("labels", a.labels, b.labels),
    ):
        if not np.array_equal(of_a, of_b):
            raise UserError(f"{where}: other {what}; only runs on the same radiographs can be compared")
    for split in SPLITS:
        counts = np.bincount(a.of(split).labels, minlength=len(a.classes))
        if counts.min() < 2:
            raise UserError(
                f"{where}: {split} has {counts.min()} radiographs of {a.classes[counts.argmin()]}; a "
                "comparison needs at least 2 of each class"
            )


def _compare_split(split: str, a: Predictions, b: Predictions) -> Comparison:
    labels = a.labels
    members = contributions(labels, a.members), contributions(labels, b.members)
    ensembles = contributions(labels, a.ensemble[None]), contributions(labels, b.ensemble[None])
    estimates = {name: estimate(members[0][name], members[1][name], labels) for name in members[0]}
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
                estimate(ensembles[0][name], ensembles[1][name], labels),
                p,
                of_metric.images_needed(len(labels), level),
                of_metric.members_needed(level),
            )
        )
    correct = a.ensemble.argmax(axis=1) == labels, b.ensemble.argmax(axis=1) == labels
    order = -np.abs(true_class_probability(b) - true_class_probability(a))
    newly_misclassified, newly_correct = (
        positions[np.argsort(order[positions], kind="stable")]
        for positions in (np.flatnonzero(correct[0] & ~correct[1]), np.flatnonzero(~correct[0] & correct[1]))
    )
    p = mcnemar(len(newly_misclassified), len(newly_correct))
    return Comparison(split, a, b, rows, newly_misclassified, newly_correct, p)


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
            "decision_a": names[a.ensemble[i].argmax()],
            "decision_b": names[b.ensemble[i].argmax()],
            "p_label_a": float(true_class_probability(a)[i]),
            "p_label_b": float(true_class_probability(b)[i]),
        }
        for i in positions
    ]
