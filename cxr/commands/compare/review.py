"""A comparison of two runs as Markdown that a reviewer reads in seconds, and as JSON for programs."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr.commands.compare.comparison import POWER, Comparison, MetricRow, flips
from cxr.commands.compare.runs import Run, EvaluationsOnTest
from cxr.evaluation.delong import LOWER_IS_BETTER

FLIPS_SHOWN = 10  # each way
TITLES = {"auc": "AUC", "auc_ovr_macro": "Macro AUC"}


@dataclass(frozen=True)
class Review:
    """splits: test first. params: what differs, the values of A and of B by dotted key."""

    a: Run
    b: Run
    splits: list[Comparison]
    params: dict[str, tuple[Any, Any]]
    looks: EvaluationsOnTest

    def markdown(self) -> str:
        test = self.splits[0]
        sides = f"A: {_side(self.a)}. B: {_side(self.b)}."
        lines = ["**The predictions of A and B are identical**: nothing to compare.", "", sides]
        if not self.identical:
            lines = [f"{_sentence(each)}  " for each in self.splits]
            lines += [f"{others}  " for each in self.splits if (others := _others(each))]
            lines += ["", f"{sides} Means over members; differences are B - A."]
            for each in self.splits:
                lines += ["", *_table(each)]
        lines += ["", "**Parameters (A, B):** " + _changes(self.params)]
        if not self.identical:
            lines += ["", *(_mcnemar(each) for each in self.splits)]
            lines += _flips(test, "newly_misclassified") + _flips(test, "newly_correct")
        if caveats := self.caveats():
            lines += ["", *(f"- {caveat}" for caveat in caveats)]
        return "\n".join(lines)

    @property
    def identical(self) -> bool:
        """As after a change of documents or tests: B was never run, or its run changed nothing."""
        a, b = self.a.predictions, self.b.predictions
        return np.array_equal(a.members, b.members) and np.array_equal(a.ensemble, b.ensemble)

    def caveats(self) -> list[str]:
        """What a reader has to know beside the figures, a sentence or two each."""
        row = self.splits[0].rows[0]
        disagreements = _disagreement(self.a, row.metric, row.a) + _disagreement(self.b, row.metric, row.b)
        return disagreements if self.identical else self._reservations() + disagreements

    def _reservations(self) -> list[str]:
        looks = _count(self.looks.others, "commit")
        if not self.looks.complete:
            looks = f"at least {looks} (this clone's history is cut off: `git fetch --unshallow`)"
        found = [
            f"Looks at test: besides B, {looks} in the history published test results; runs that nobody "
            'committed are not counted. The more there are, the likelier is a lucky "better".',
            "val has chosen the temperature and perhaps more: where val and test disagree, believe test.",
            f"Needed: to find a difference of the size seen here with {100 * POWER:.0f} % power, taking the "
            "variance over radiographs to fall with 1/n and that over members with 1/m.",
            "Secondary metrics have p and verdict after Holm's correction, their intervals are uncorrected.",
        ]
        for run in (self.a, self.b):
            if len(run.predictions.members) == 1:
                found.append(
                    f"{run.name} has a single member. How much members differ is unknown, so the interval "
                    "speaks of these two models, not of the change. For a verdict train two members or more."
                )
        if self.a.params.get("seed") == self.b.params.get("seed"):
            found.append(
                f"Both sides use seed {self.a.params.get('seed')}, so members may share initial weights and "
                "batch order. They count as independent: the intervals are too wide, if anything."
            )
        return found


def _sentence(split: Comparison) -> str:
    row, estimate = split.rows[0], split.rows[0].estimate
    low, high = estimate.interval
    detail = f"{estimate.difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    if estimate.single:
        detail += ", over radiographs alone: one side has a single member"
    elif row.verdict == "cannot tell":
        detail += f"; {_needed(row, split.split)}"
    return f"**{TITLES[row.metric]} on {split.split}: {row.verdict}** ({detail})"


def _others(split: Comparison) -> str:
    """What the secondary metrics say, which may change while the order of the radiographs does not."""
    decided: dict[str, list[str]] = {}
    for row in split.rows[1:]:
        decided.setdefault(row.verdict, []).append(f"`{row.metric}`")
    found = [f"**{name}** in {', '.join(decided[name])}" for name in ("worse", "better") if name in decided]
    return f"Other metrics on {split.split}: {'; '.join(found)}" if found else ""


def _needed(row: MetricRow, split: str) -> str:
    if not row.estimate.difference:
        return "no difference at all"
    images, members = row.images_needed, row.members_needed
    if images and members:
        return f"about {_rounded(images)} {split} radiographs or {_rounded(members)} members a side would be needed"
    if images:
        return f"more members cannot tell it; about {_rounded(images)} {split} radiographs would be needed"
    if members:
        return f"more {split} radiographs cannot tell it; about {_rounded(members)} members a side would be needed"
    return f"neither more {split} radiographs nor more members alone can tell it"


def _rounded(count: int) -> str:
    """Two significant digits: a plan is no more exact than that."""
    return f"{float(f'{count:.2g}'):,.0f}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _side(run: Run) -> str:
    name = f"`{run.name}` ({run.commit[:7]})" if run.commit else run.name
    return f"{name}, {_count(len(run.predictions.members), 'member')}"


def _table(split: Comparison) -> list[str]:
    lines = [
        f"| {split.split}, {len(split.a.labels):,} radiographs | A | B | B - A | 95 % interval | p | verdict | "
        "ensemble A | ensemble B |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in split.rows:
        low, high = row.estimate.interval
        name = f"`{row.metric}`" + (" (lower is better)" if row.metric in LOWER_IS_BETTER else "")
        verdict = row.verdict if row.verdict == "cannot tell" else f"**{row.verdict}**"
        lines.append(
            f"| {name} | {row.a:.4f} | {row.b:.4f} | {row.estimate.difference:+.4f} "
            f"| {low:+.4f} to {high:+.4f} | {_p(row.p)} | {verdict} "
            f"| {row.ensemble_a:.4f} | {row.ensemble_b:.4f} |"
        )
    return lines


def _changes(changed: dict[str, tuple[Any, Any]]) -> str:
    """Those that both sides have, then those that one side's version of params.yaml does not know."""
    found = [f"`{key}` {a}, {b}" for key, (a, b) in changed.items() if None not in (a, b)]
    for side, name in enumerate("AB"):
        own = [f"`{key}` {pair[side]}" for key, pair in changed.items() if pair[1 - side] is None]
        found += [f"only in {name}: {', '.join(own)}"] if own else []
    return "; ".join(found) or "none differs"


def _mcnemar(split: Comparison) -> str:
    sign = "= " if split.mcnemar >= 0.001 else ""
    return (
        f"**Decisions of the ensembles on {split.split}:** B loses {len(split.lost):,} that A has right, "
        f"wins {len(split.won):,} that A has wrong (McNemar's exact test: p {sign}{_p(split.mcnemar)}).  "
    )


def _flips(split: Comparison, way: str) -> list[str]:
    positions = split.lost if way == "newly_misclassified" else split.won
    if not len(positions):
        return []
    title, wrong = (
        ("right in A, wrong in B", "B") if way == "newly_misclassified" else ("wrong in A, right in B", "A")
    )
    lines = ["", f"| {title}, {split.split}: row | truth | {wrong} says | p(truth) in A | in B |"]
    lines.append("|---|---|---|---|---|")
    for flip in flips(split, positions[:FLIPS_SHOWN]):
        said = f"| {flip['row']} | {flip['truth']} | {flip[f'decision_{wrong.lower()}']} "
        lines.append(said + f"| {flip['p_truth_a']:.3f} | {flip['p_truth_b']:.3f} |")
    rest = len(positions) - FLIPS_SHOWN
    return lines + ([f"| and {rest:,} more, less changed | | | | |"] if rest > 0 else [])


def _disagreement(run: Run, metric: str, mean: float) -> list[str]:
    """Whether metrics/test.json says something else than the predictions beside it."""
    said = run.test.get(metric)
    published = said.get("mean") if isinstance(said, dict) else None
    if isinstance(published, float) and abs(published - mean) <= 1e-5:
        return []
    return [
        f"metrics/test.json of {run.name} does not have the {metric}.mean of {mean:.6f} that its predictions "
        "have: the two were not written by one run."
    ]


def as_json(review: Review) -> dict[str, Any]:
    """What `cxr compare --json` writes: finite numbers, None for what cannot be known."""
    return {
        "verdict": {each.split: each.rows[0].verdict for each in review.splits},
        "a": _run_json(review.a),
        "b": _run_json(review.b),
        "params": {key: {"a": of_a, "b": of_b} for key, (of_a, of_b) in review.params.items()},
        "looks": {"others": review.looks.others, "complete": review.looks.complete},
        "splits": {each.split: _split_json(each) for each in review.splits},
        "caveats": review.caveats(),
    }


def _run_json(run: Run) -> dict[str, Any]:
    return {"name": run.name, "commit": run.commit, "members": len(run.predictions.members), "test": run.test}


def _split_json(split: Comparison) -> dict[str, Any]:
    return {
        "images": len(split.a.labels),
        "metrics": {row.metric: _row_json(row) for row in split.rows},
        "mcnemar": {
            "newly_misclassified": len(split.lost),
            "newly_correct": len(split.won),
            "p": split.mcnemar,
        },
        "newly_misclassified": flips(split, split.lost),
        "newly_correct": flips(split, split.won),
    }


def _row_json(row: MetricRow) -> dict[str, Any]:
    found, ensemble = row.estimate, row.ensemble
    low, high = found.interval
    return {
        "verdict": row.verdict,
        "a": row.a,
        "b": row.b,
        "difference": found.difference,
        "low": low,
        "high": high,
        "p": row.p,
        "p_uncorrected": found.p,
        "error": found.error,
        "error_images": found.images**0.5,
        "error_members": None if found.single else found.of_members**0.5,
        "freedom": found.freedom if math.isfinite(found.freedom) else None,
        "images_needed": row.images_needed,
        "members_needed": row.members_needed,
        "ensemble": {
            "a": row.ensemble_a,
            "b": row.ensemble_b,
            "difference": ensemble.difference,
            "low": ensemble.interval[0],
            "high": ensemble.interval[1],
        },
    }
