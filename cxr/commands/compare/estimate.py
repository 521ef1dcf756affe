"""The difference between two runs in one metric, and the variance of this difference.

What is compared is the mean over members (networks that differ in their seed). Members are readers, and cases
are crossed with them: the model is that of Obuchowski & Rockette (1995) with the degrees of freedom of Hillis
(2007, https://doi.org/10.1002/sim.2532), which is equivalent to that of Dorfman, Berbaum & Metz.

paired          Member i of both runs has the same seed. Then the members are crossed with the runs, and the
                variance of the difference is s^2 / m, of the m differences between partners, plus the mean
                covariance of two of these differences over cases, as R's MRMCaov and RJafroc compute it
                (tests/commands/compare/test_published_example.py).
unpaired        The seeds differ. Then members are nested within runs (Hillis, 2014,
                https://doi.org/10.1002/sim.5926): s^2 / m of each run plus the covariance of members over
                cases, and the degrees of freedom of Welch and Satterthwaite, since s^2 may differ.
same weights    Both runs have the same networks, and differ in what follows them. Nothing about a training is
                compared, so there is no training term: the members are fixed, and only the cases vary.
too few         A run has fewer than `MEMBERS` members: neither a p-value nor an interval.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t

from cxr.evaluation.delong import Contributions, case_variance

LEVEL = 0.05  # two-sided significance level
POWER = 0.8  # for the numbers of radiographs and members needed, and the smallest detectable difference
MEMBERS = 3  # of each run, for a p-value; two members have one degree of freedom and next to no power
MOST_MEMBERS = 10_000
Design = Literal["paired", "unpaired", "same weights", "too few"]


@dataclass(frozen=True)
class Estimate:
    """The difference B - A of a metric's means over members, and the components of its variance.

    between_case: the part that members share because they are evaluated on the same radiographs; only more
    radiographs reduce it. between_seed: s^2 over the members, of A and of B where they are unpaired, of the
    differences between partners where they are paired, empty if the members are fixed. interaction: the part
    of each s^2 that is due to these radiographs (interaction of member and case), which more radiographs
    reduce as well. members: the number behind each s^2, or of A and of B.

    Without a training term (designs "same weights" and "too few") between_case is the total case variance of
    the difference between these models (DeLong's, for AUC).
    """

    design: Design
    difference: float
    between_case: float
    between_seed: tuple[float, ...]
    interaction: tuple[float, ...]
    members: tuple[int, ...]

    @property
    def testable(self) -> bool:
        return self.design != "too few"

    @property
    def seed_variance(self) -> float:
        """The between-seed part of the variance of the difference: the sum of s^2 / m."""
        return sum(s / m for s, m in zip(self.between_seed, self.members, strict=False))

    @property
    def irreducible(self) -> float:
        """What would remain of `seed_variance` with any number of radiographs."""
        parts = zip(self.between_seed, self.interaction, self.members, strict=False)
        return sum(max(s - i, 0.0) / m for s, i, m in parts)

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.between_case + self.seed_variance)

    @property
    def degrees_of_freedom(self) -> float:
        """After Satterthwaite; the between-case part counts as known. May be infinite."""
        parts = [(s / m) ** 2 / (m - 1) for s, m in zip(self.between_seed, self.members, strict=False) if s]
        return (self.between_case + self.seed_variance) ** 2 / sum(parts) if parts else math.inf

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference; with the design "too few" that between these models alone."""
        half = float(t.ppf(1 - LEVEL / 2, self.degrees_of_freedom)) * self.standard_error
        return self.difference - half, self.difference + half

    @property
    def p(self) -> float:
        """Two-sided p-value of no difference; with the design "too few" 1, as nothing can be said."""
        if not self.testable:
            return 1.0
        if not self.standard_error:
            return float(self.difference == 0)
        return float(2 * t.sf(abs(self.difference) / self.standard_error, self.degrees_of_freedom))

    def detectable(self, level: float = LEVEL) -> float:
        """The smallest true difference that such a comparison finds at `level` with `POWER`."""
        degrees = self.degrees_of_freedom
        return float(t.ppf(1 - level / 2, degrees) + t.ppf(POWER, degrees)) * self.standard_error

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


def design_of(members_a: int, members_b: int, *, same_seeds: bool, same_weights: bool) -> Design:
    """How two runs with so many members are to be compared. same_seeds: whether member i of both has the same
    seed. Only what is known before the metrics are looked at decides."""
    if same_weights:
        return "same weights"
    if min(members_a, members_b) < MEMBERS:
        return "too few"
    return "paired" if same_seeds else "unpaired"


def compared_members(design: Design, members: int, others: int) -> int:
    """How many of the first `members` of a run are compared with a run of `others`: with the design "paired"
    those that have a partner."""
    return members if design in ("unpaired", "too few") else min(members, others)


def estimate(
    a: Contributions,
    b: Contributions,
    labels: np.ndarray,
    design: Design,
    patients: np.ndarray | None = None,
) -> Estimate:
    """a, b: one metric of the members of two sides, on the same radiographs; partners in the same order where
    they are paired. labels: (N,) int. patients: see `case_variance`."""
    difference = float(b.values.mean() - a.values.mean())
    total = float(case_variance(b.images.mean(axis=0) - a.images.mean(axis=0), labels, patients))
    if design in ("same weights", "too few"):
        return Estimate(design, difference, total, (), (), (len(a.values), len(b.values)))
    samples = [a, b]
    if design == "paired":
        samples = [Contributions(b.values - a.values, b.images - a.images)]
    members = tuple(len(sample.values) for sample in samples)
    between_seed = tuple(float(sample.values.var(ddof=1)) for sample in samples)
    if not any(between_seed):
        # All members of a side have equal values. If they err on different radiographs, the shared part may
        # be estimated as 0, and the difference would seem to be known without error.
        return Estimate(design, difference, total, between_seed, between_seed, members)
    interaction = tuple(member_case_interaction(sample, labels, patients) for sample in samples)
    shared = total - sum(i / m for i, m in zip(interaction, members, strict=True))
    return Estimate(design, difference, max(shared, 0.0), between_seed, interaction, members)


def member_case_interaction(
    side: Contributions, labels: np.ndarray, patients: np.ndarray | None = None
) -> float:
    """The mean case variance of a member minus the mean covariance of two members."""
    members = len(side.values)
    own = case_variance(side.images, labels, patients).mean()
    of_mean = case_variance(side.images.mean(axis=0), labels, patients)
    return float((own - of_mean) * members / (members - 1))
