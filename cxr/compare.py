"""Is one run better than another, or is it chance? Metrics and decisions of both on the same films."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr.contributions import LOWER_IS_BETTER, measure
from cxr.errors import UserError
from cxr.estimate import LEVEL, Estimate, estimate
from cxr.intervals import holm
from cxr.predictions import Predictions

SPLITS = ("test", "val")


def mcnemar(lost: int, won: int) -> float:
    """The exact two-sided p-value that a film is as likely lost as won (McNemar, 1947)."""
    total, fewer = lost + won, min(lost, won)
    return min(1.0, 2 * sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total)


@dataclass(frozen=True)
class Row:
    """One metric. a, b: means over members. estimate: of their difference. ensemble...: the same of what is
    shipped, as two single models. p: the estimate's, for a secondary metric adjusted by Holm's method.
    films_needed, members_needed: to tell a difference of this size, None if no number would."""

    metric: str
    a: float
    b: float
    estimate: Estimate
    ensemble_a: float
    ensemble_b: float
    ensemble: Estimate
    p: float
    films_needed: int | None
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
    films that the ensemble of A has right and that of B wrong, and the reverse, the greatest change first.
    mcnemar: the p-value of these two numbers."""

    split: str
    a: Predictions
    b: Predictions
    rows: list[Row]
    lost: np.ndarray
    won: np.ndarray
    mcnemar: float


def compare(a: Predictions, b: Predictions, names: tuple[str, str]) -> list[Comparison]:
    """A comparison for each of `SPLITS`. names: of the two sides, for messages.

    Raises `UserError` if the two are not about the same films, or if a class has fewer than two in a split.
    """
    check_same_films(a, b, names)
    return [_compare_split(split, a.of(split), b.of(split)) for split in SPLITS]


def check_same_films(a: Predictions, b: Predictions, names: tuple[str, str]) -> None:
    where = f"metrics/predictions.csv of {names[0]} and of {names[1]}"
    if a.classes != b.classes:
        raise UserError(f"{where}: other classes, {', '.join(a.classes)} and {', '.join(b.classes)}")
    for what, of_a, of_b in (
        ("rows", a.rows, b.rows),
        ("splits", a.splits, b.splits),
        ("labels", a.labels, b.labels),
    ):
        if not np.array_equal(of_a, of_b):
            raise UserError(f"{where}: other {what}; only runs on the same films can be compared")
    for split in SPLITS:
        counts = np.bincount(a.of(split).labels, minlength=len(a.classes))
        if counts.min() < 2:
            raise UserError(
                f"{where}: {split} has {counts.min()} films of {a.classes[counts.argmin()]}; 2 of each class "
                "are the least that a comparison needs"
            )


def _compare_split(split: str, a: Predictions, b: Predictions) -> Comparison:
    labels = a.labels
    members = measure(labels, a.members), measure(labels, b.members)
    ensembles = measure(labels, a.ensemble[None]), measure(labels, b.ensemble[None])
    estimates = {name: estimate(members[0][name], members[1][name], labels) for name in members[0]}
    primary, *secondary = estimates
    adjusted = holm([estimates[name].p for name in secondary])
    rows = []
    for name, p in zip(estimates, [estimates[primary].p, *adjusted], strict=True):
        found = estimates[name]
        level = LEVEL if name == primary else LEVEL / len(secondary)  # Holm's strictest
        rows.append(
            Row(
                name,
                float(members[0][name].values.mean()),
                float(members[1][name].values.mean()),
                found,
                float(ensembles[0][name].values[0]),
                float(ensembles[1][name].values[0]),
                estimate(ensembles[0][name], ensembles[1][name], labels),
                p,
                found.films_needed(len(labels), level),
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
    """What both ensembles say of the films at `positions`: decisions, and the true class's probability."""
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
