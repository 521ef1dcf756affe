"""Is one run better than another, or is it chance? Metrics and decisions of both on the same radiographs.

What is compared is the mean over members. The variance of the difference has two parts: radiographs, what
different members of a side have in common because they judge the same radiographs, and members, s^2/m of each
side. That is the method of Obuchowski & Rockette (1995) with readers nested within tests, as described by
Hillis, 2014, https://doi.org/10.1002/sim.5926, but with Welch and Satterthwaite's degrees of freedom, since
one side may spread more than the other. To add s^2/m to the whole case variance of the difference would count
twice that members err on different radiographs, and hardly ever find a difference: see
benchmarks/compare_false_alarms.py.

Members of A and of B count as independent. Where they share seeds the variance is too large, if anything.
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

LEVEL = 0.05  # how often two equal trainings may be called different
POWER = 0.8  # of a plan: how often a difference of the observed size is to be found
MOST_MEMBERS = 10_000
SPLITS = ("test", "val")


@dataclass(frozen=True)
class Estimate:
    """The difference B - A of a metric's means over members, and the parts of its variance.

    radiographs: what the members of a side have in common, so that only more radiographs lower it. spread:
    s^2 over the members of A and of B. noise: the part of it that is due to these radiographs, which more
    radiographs lower too. members: how many A and B have. With a single one on a side spread and noise are
    unknown and 0, and `images` is the case variance of the difference between the very models at hand.
    """

    difference: float
    images: float
    variability: tuple[float, float]
    noise: tuple[float, float]
    members: tuple[int, int]

    @property
    def single(self) -> bool:
        return min(self.members) == 1

    @property
    def of_members(self) -> float:
        return self.variability[0] / self.members[0] + self.variability[1] / self.members[1]

    @property
    def lasting(self) -> float:
        """What would stay of `of_members` with any number of radiographs."""
        return sum(
            max(s - i, 0.0) / m for s, i, m in zip(self.variability, self.noise, self.members, strict=True)
        )

    @property
    def error(self) -> float:
        """The standard error of the difference."""
        return math.sqrt(self.images + self.of_members)

    @property
    def freedom(self) -> float:
        """Degrees of freedom; the radiographs' part counts as known."""
        parts = [(s / m) ** 2 / (m - 1) for s, m in zip(self.variability, self.members, strict=True) if s]
        return (self.images + self.of_members) ** 2 / sum(parts) if parts else math.inf

    @property
    def interval(self) -> tuple[float, float]:
        half = float(t.ppf(1 - LEVEL / 2, self.freedom)) * self.error
        return self.difference - half, self.difference + half

    @property
    def p(self) -> float:
        """Two-sided, of no difference."""
        if not self.error:
            return float(self.difference == 0)
        return float(2 * t.sf(abs(self.difference) / self.error, self.freedom))

    def images_needed(self, images: int, level: float) -> int | None:
        """How many radiographs instead of `images` would tell a difference of this size at `level`; None: no
        number.

        The variance over radiographs is taken to fall with 1 / radiographs.
        """
        quantile = float(t.ppf(1 - level / 2, self.freedom) + t.ppf(POWER, self.freedom))
        room = (self.difference / quantile) ** 2 - self.lasting
        if room <= 0:
            return None
        return math.ceil(images * (self.images + self.of_members - self.lasting) / room)

    def members_needed(self, level: float) -> int | None:
        """How many members on each side would tell it with the same radiographs; None: not even
        MOST_MEMBERS."""
        if not any(self.variability):
            return None
        counts = np.arange(2, MOST_MEMBERS + 1)
        variance = self.images + sum(self.variability) / counts
        squares = sum(s**2 for s in self.variability) / counts**2 / (counts - 1)
        freedom = variance**2 / squares
        quantile = t.ppf(1 - level / 2, freedom) + t.ppf(POWER, freedom)
        enough = quantile**2 * variance <= self.difference**2
        return int(counts[enough.argmax()]) if enough.any() else None


def estimate(a: Contributions, b: Contributions, labels: np.ndarray) -> Estimate:
    """a, b: one metric of the members of two sides, on the same radiographs. labels: (N,) int."""
    difference = float(b.values.mean() - a.values.mean())
    both = float(case_variance(b.images.mean(axis=0) - a.images.mean(axis=0), labels))
    members = len(a.values), len(b.values)
    known_models = Estimate(difference, both, (0.0, 0.0), (0.0, 0.0), members)
    if known_models.single:
        return known_models
    variability = float(a.values.var(ddof=1)), float(b.values.var(ddof=1))
    if not any(variability):
        # All members of a side are equally good. That they are so in different radiographs may push the
        # shared part to 0; the difference would then seem to be known without any error.
        return known_models
    noise = interaction(a, labels), interaction(b, labels)
    shared = both - noise[0] / members[0] - noise[1] / members[1]
    return Estimate(difference, max(shared, 0.0), variability, noise, members)


def interaction(side: Contributions, labels: np.ndarray) -> float:
    """How much more a member varies with the radiographs than it does together with another member."""
    members = len(side.values)
    own = case_variance(side.images, labels).mean()
    return float((own - case_variance(side.images.mean(axis=0), labels)) * members / (members - 1))


def mcnemar(lost: int, won: int) -> float:
    """The exact two-sided p-value that a radiograph is as likely lost as won (McNemar, 1947)."""
    total, fewer = lost + won, min(lost, won)
    return min(1.0, 2 * sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total)


@dataclass(frozen=True)
class MetricRow:
    """One metric. a, b: means over members. estimate: of their difference. ensemble...: the same of what is
    released, as two single models. p: the estimate's, for a secondary metric adjusted by Holm's method.
    films_needed, members_needed: to tell a difference of this size, None if no number would."""

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
        """One of "better", "worse" and "cannot tell". A single model cannot tell of its training."""
        if self.estimate.single or self.p >= LEVEL:
            return "cannot tell"
        return "better" if (self.estimate.difference > 0) != (self.metric in LOWER_IS_BETTER) else "worse"


@dataclass(frozen=True)
class Comparison:
    """B against A on one split. rows: the primary metric first. lost, won: positions in the split of the
    radiographs that the ensemble of A has right and that of B wrong, and the reverse, the greatest change
    first. mcnemar: the p-value of these two numbers."""

    split: str
    a: Predictions
    b: Predictions
    rows: list[MetricRow]
    lost: np.ndarray
    won: np.ndarray
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
                f"{where}: {split} has {counts.min()} radiographs of {a.classes[counts.argmin()]}; 2 of each class "
                "are the least that a comparison needs"
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
        found = estimates[name]
        level = LEVEL if name == primary else LEVEL / len(secondary)  # Holm's strictest
        rows.append(
            MetricRow(
                name,
                float(members[0][name].values.mean()),
                float(members[1][name].values.mean()),
                found,
                float(ensembles[0][name].values[0]),
                float(ensembles[1][name].values[0]),
                estimate(ensembles[0][name], ensembles[1][name], labels),
                p,
                found.images_needed(len(labels), level),
                found.members_needed(level),
            )
        )
    right = a.ensemble.argmax(axis=1) == labels, b.ensemble.argmax(axis=1) == labels
    change = -np.abs(of_truth(b) - of_truth(a))
    lost, won = (
        positions[np.argsort(change[positions], kind="stable")]
        for positions in (np.flatnonzero(right[0] & ~right[1]), np.flatnonzero(~right[0] & right[1]))
    )
    return Comparison(split, a, b, rows, lost, won, mcnemar(len(lost), len(won)))


def of_truth(split: Predictions) -> np.ndarray:
    """(N,) the ensemble's probability of the true class."""
    return split.ensemble[np.arange(len(split.labels)), split.labels]


def flips(split: Comparison, positions: np.ndarray) -> list[dict[str, Any]]:
    """What both ensembles say of the radiographs at `positions`: decisions, and the true class's
    probability."""
    names, a, b = split.a.classes, split.a, split.b
    return [
        {
            "row": int(a.rows[i]),
            "truth": names[a.labels[i]],
            "decision_a": names[a.ensemble[i].argmax()],
            "decision_b": names[b.ensemble[i].argmax()],
            "p_truth_a": float(of_truth(a)[i]),
            "p_truth_b": float(of_truth(b)[i]),
        }
        for i in positions
    ]
