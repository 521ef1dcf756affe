"""The difference between two trainings in one metric, and how well it is known.

What is compared is the mean over members. The variance of the difference has two parts: films, what different
members of a side have in common because they judge the same films, and members, s^2/m of each side. That is
the method of Obuchowski & Rockette (1995) with readers nested within tests, as described by Hillis, 2014,
https://doi.org/10.1002/sim.5926, but with Welch and Satterthwaite's degrees of freedom, since one side may
spread more than the other. To add s^2/m to the whole case variance of the difference would count twice that
members err on different films, and hardly ever find a difference: see benchmarks/compare_alarms.py.

Members of A and of B count as independent. Where they share seeds the variance is too large, if anything.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from cxr.contributions import Contributions, case_variance

LEVEL = 0.05  # how often two equal trainings may be called different
POWER = 0.8  # of a plan: how often a difference of the observed size is to be found
MOST_MEMBERS = 10_000


@dataclass(frozen=True)
class Estimate:
    """The difference B - A of a metric's means over members, and the parts of its variance.

    films: what the members of a side have in common, so that only more films lower it. spread: s^2 over the
    members of A and of B. noise: the part of it that is due to these films, which more films lower too.
    members: how many A and B have. With a single one on a side spread and noise are unknown and 0, and
    `films` is the case variance of the difference between the very models at hand.
    """

    difference: float
    films: float
    spread: tuple[float, float]
    noise: tuple[float, float]
    members: tuple[int, int]

    @property
    def single(self) -> bool:
        return min(self.members) == 1

    @property
    def of_members(self) -> float:
        return self.spread[0] / self.members[0] + self.spread[1] / self.members[1]

    @property
    def lasting(self) -> float:
        """What would stay of `of_members` with any number of films."""
        return sum(max(s - i, 0.0) / m for s, i, m in zip(self.spread, self.noise, self.members, strict=True))

    @property
    def error(self) -> float:
        """The standard error of the difference."""
        return math.sqrt(self.films + self.of_members)

    @property
    def freedom(self) -> float:
        """Degrees of freedom; the films' part counts as known."""
        parts = [(s / m) ** 2 / (m - 1) for s, m in zip(self.spread, self.members, strict=True) if s]
        return (self.films + self.of_members) ** 2 / sum(parts) if parts else math.inf

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

    def films_needed(self, films: int, level: float) -> int | None:
        """How many films instead of `films` would tell a difference of this size at `level`; None: no number.

        The variance over films is taken to fall with 1 / films.
        """
        quantile = float(t.ppf(1 - level / 2, self.freedom) + t.ppf(POWER, self.freedom))
        room = (self.difference / quantile) ** 2 - self.lasting
        if room <= 0:
            return None
        return math.ceil(films * (self.films + self.of_members - self.lasting) / room)

    def members_needed(self, level: float) -> int | None:
        """How many members on each side would tell it with the same films; None: not even MOST_MEMBERS."""
        if not any(self.spread):
            return None
        counts = np.arange(2, MOST_MEMBERS + 1)
        variance = self.films + sum(self.spread) / counts
        squares = sum(s**2 for s in self.spread) / counts**2 / (counts - 1)
        freedom = variance**2 / squares
        quantile = t.ppf(1 - level / 2, freedom) + t.ppf(POWER, freedom)
        enough = quantile**2 * variance <= self.difference**2
        return int(counts[enough.argmax()]) if enough.any() else None


def estimate(a: Contributions, b: Contributions, labels: np.ndarray) -> Estimate:
    """a, b: one metric of the members of two sides, on the same films. labels: (N,) int."""
    difference = float(b.values.mean() - a.values.mean())
    both = float(case_variance(b.films.mean(axis=0) - a.films.mean(axis=0), labels))
    members = len(a.values), len(b.values)
    known_models = Estimate(difference, both, (0.0, 0.0), (0.0, 0.0), members)
    if known_models.single:
        return known_models
    spread = float(a.values.var(ddof=1)), float(b.values.var(ddof=1))
    if not any(spread):
        # All members of a side are equally good. That they are so in different films may push the shared
        # part to 0; the difference would then seem to be known without any error.
        return known_models
    noise = interaction(a, labels), interaction(b, labels)
    shared = both - noise[0] / members[0] - noise[1] / members[1]
    return Estimate(difference, max(shared, 0.0), spread, noise, members)


def interaction(side: Contributions, labels: np.ndarray) -> float:
    """How much more a member varies with the films than it does together with another member."""
    members = len(side.values)
    own = case_variance(side.films, labels).mean()
    return float((own - case_variance(side.films.mean(axis=0), labels)) * members / (members - 1))
