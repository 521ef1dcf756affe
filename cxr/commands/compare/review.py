"""A comparison of two runs as Markdown for reviewers and as JSON for programs."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr.commands.compare.comparison import POWER, Comparison, MetricRow, flips
from cxr.commands.compare.runs import EvaluationsOnTest, Run
from cxr.reports import ledger

FLIPS_SHOWN = 10  # of each direction
TITLES = {"auc": "AUC", "auc_ovr_macro": "Macro AUC"}
NOTES = {"brier": " (lower is better)", "nll": " (log loss, lower is better)"}


@dataclass(frozen=True)
class Review:
    """splits: test first. params: those that differ, the values of A and of B by dotted key. evaluations: how
    often test was evaluated before B."""

    a: Run
    b: Run
    splits: list[Comparison]
    params: dict[str, tuple[Any, Any]]
    evaluations: EvaluationsOnTest

    def markdown(self) -> str:
        test = self.splits[0]
        sides = f"A: {_side(self.a)}. B: {_side(self.b)}."
        lines = ["**The predictions of A and B are identical**: nothing to compare.", "", sides]
        if not self.identical:
            lines = [f"{_primary(split)}  " for split in self.splits]
            lines += [f"{secondary}  " for split in self.splits if (secondary := _secondary(split))]
            lines += ["", f"{sides} Means over members; differences are B - A."]
            for split in self.splits:
                lines += ["", *_table(split)]
        lines += ["", "**Parameters (A, B):** " + _changes(self.params)]
        if not self.identical:
            lines += ["", *(_discordant(split) for split in self.splits)]
            lines += _flips(test, test.newly_misclassified, "newly misclassified", "b")
            lines += _flips(test, test.newly_correct, "newly correct", "a")
        if caveats := self.caveats():
            lines += ["", *(f"- {caveat}" for caveat in caveats)]
        return "\n".join(lines)

    @property
    def identical(self) -> bool:
        """After a change of documents or tests, B was not run again, or its run changed nothing."""
        a, b = self.a.predictions, self.b.predictions
        return np.array_equal(a.members, b.members) and np.array_equal(a.ensemble, b.ensemble)

    def caveats(self) -> list[str]:
        """What limits the conclusions, a sentence or two each."""
        row = self.splits[0].rows[0]
        disagreements = _disagreement(self.a, row.metric, row.a) + _disagreement(self.b, row.metric, row.b)
        return disagreements if self.identical else self._reservations() + disagreements

    def _reservations(self) -> list[str]:
        reservations = [
            f'Test-set reuse: {self._reuse()}. With every test-set evaluation a "better" by chance becomes '
            "more likely.",
            "The temperature, and perhaps more, was chosen on val: if val and test disagree, rely on test.",
            "The numbers of radiographs and members needed are for detecting a difference of the observed "
            f"size with {100 * POWER:.0f} % power if the between-case variance falls with 1/n and the "
            "between-seed variance with 1/m.",
            "p-values and verdicts of secondary metrics are adjusted by Holm's method; intervals are not.",
        ]
        for run in (self.a, self.b):
            if len(run.predictions.members) == 1:
                reservations.append(
                    f"{run.name} has a single member. The between-seed variability is unknown, so the "
                    "interval refers to these two models, not to the change. For a verdict train two members "
                    "or more."
                )
        if self.a.params.get("seed") == self.b.params.get("seed"):
            reservations.append(
                f"Both sides use seed {self.a.params.get('seed')}, so members may share initial weights and "
                "batch order. They are treated as independent, which makes the intervals too wide at worst."
            )
        return reservations

    def _reuse(self) -> str:
        earlier = self.evaluations.earlier
        if self.evaluations.ledger:
            return f"by {ledger.PATH} at A, test was evaluated {_count(earlier, 'time')} before B"
        commits = _count(earlier, "commit")
        return (
            f"A has no ledger of this test set ({ledger.PATH}); besides B, at least {commits} in the history "
            "published test results"
        )


def _primary(split: Comparison) -> str:
    row, estimate = split.rows[0], split.rows[0].estimate
    low, high = estimate.interval
    detail = f"{estimate.difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    if estimate.single:
        detail += ", between-case only: one side has a single member"
    elif row.verdict == "inconclusive":
        detail += f"; {_needed(row, split.split)}"
    return f"**{TITLES[row.metric]} on {split.split}: {row.verdict}** ({detail})"


def _secondary(split: Comparison) -> str:
    """Secondary metrics that changed; they can even where the ranking of the radiographs, and so AUC, did
    not."""
    metrics: dict[str, list[str]] = {}
    for row in split.rows[1:]:
        metrics.setdefault(row.verdict, []).append(f"`{row.metric}`")
    parts = [f"**{name}** in {', '.join(metrics[name])}" for name in ("worse", "better") if name in metrics]
    return f"Other metrics on {split.split}: {'; '.join(parts)}" if parts else ""


def _needed(row: MetricRow, split: str) -> str:
    if not row.estimate.difference:
        return "no difference at all"
    images = row.images_needed and f"about {_rounded(row.images_needed)} {split} radiographs"
    members = row.members_needed and f"about {_rounded(row.members_needed)} members a side"
    if images and members:
        return f"{images} or {members} would be needed"
    if images:
        return f"more members would not suffice; {images} would be needed"
    if members:
        return f"more {split} radiographs would not suffice; {members} would be needed"
    return f"neither more {split} radiographs nor more members alone would suffice"


def _rounded(count: int) -> str:
    """Two significant digits: these numbers are estimates."""
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
        f"| {split.split}, {len(split.a.labels):,} radiographs | A | B | B - A | 95 % interval | p | verdict "
        "| ensemble A | ensemble B |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in split.rows:
        low, high = row.estimate.interval
        name = f"`{row.metric}`{NOTES.get(row.metric, '')}"
        verdict = row.verdict if row.verdict == "inconclusive" else f"**{row.verdict}**"
        lines.append(
            f"| {name} | {row.a:.4f} | {row.b:.4f} | {row.estimate.difference:+.4f} "
            f"| {low:+.4f} to {high:+.4f} | {_p(row.p)} | {verdict} "
            f"| {row.ensemble_a:.4f} | {row.ensemble_b:.4f} |"
        )
    return lines


def _changes(changed: dict[str, tuple[Any, Any]]) -> str:
    """Parameters of both sides, then those that are in one side's version of params.yaml alone."""
    parts = [f"`{key}` {a}, {b}" for key, (a, b) in changed.items() if None not in (a, b)]
    for side, name in enumerate("AB"):
        own = [f"`{key}` {pair[side]}" for key, pair in changed.items() if pair[1 - side] is None]
        parts += [f"only in {name}: {', '.join(own)}"] if own else []
    return "; ".join(parts) or "none differs"


def _discordant(split: Comparison) -> str:
    sign = "= " if split.mcnemar >= 0.001 else ""
    return (
        f"**Decisions of the ensembles on {split.split}:** B newly misclassifies "
        f"{_count(len(split.newly_misclassified), 'radiograph')}, {len(split.newly_correct):,} are newly "
        f"correct (McNemar's exact test: p {sign}{_p(split.mcnemar)}).  "
    )


def _flips(split: Comparison, positions: np.ndarray, title: str, wrong: str) -> list[str]:
    """A table of the radiographs at `positions`. wrong: the side that misclassifies them, a or b."""
    if not len(positions):
        return []
    lines = ["", f"| {title}, {split.split}: row | true class | decision of {wrong.upper()} "]
    lines[-1] += "| p(true class) in A | in B |"
    lines.append("|---|---|---|---|---|")
    for flip in flips(split, positions[:FLIPS_SHOWN]):
        lines.append(
            f"| {flip['row']} | {flip['label']} | {flip[f'decision_{wrong}']} "
            f"| {flip['p_label_a']:.3f} | {flip['p_label_b']:.3f} |"
        )
    rest = len(positions) - FLIPS_SHOWN
    return lines + ([f"| and {rest:,} more, less changed | | | | |"] if rest > 0 else [])


def _disagreement(run: Run, metric: str, mean: float) -> list[str]:
    """A caveat if metrics/test.json does not have the mean that follows from the predictions beside it."""
    published = run.test.get(metric)
    value = published.get("mean") if isinstance(published, dict) else None
    if isinstance(value, float) and abs(value - mean) <= 1e-5:
        return []
    return [
        f"metrics/test.json of {run.name} does not have the {metric}.mean of {mean:.6f} that its predictions "
        "have: the two were not written by one run."
    ]


def as_json(review: Review) -> dict[str, Any]:
    """What `cxr compare --json` writes. Numbers are finite, None is what is not known or infinite.

    verdict: of the primary metric by split: better, worse or inconclusive
    a, b: name, commit (None: the workspace), members, test (the content of metrics/test.json)
    params: those that differ, by dotted key, the values a and b (None: a side does not have it)
    test_set_evaluations: earlier (their number before B), ledger (True: counted by the ledger of test at A;
        False: commits that published test results, a lower bound)
    splits: by name: images (their number), metrics (by name, see below), mcnemar (the numbers
        newly_misclassified and newly_correct, and p), and the lists newly_misclassified and newly_correct,
        whose entries have row, label, decision_a, decision_b, p_label_a, p_label_b
    caveats: sentences

    A metric has its verdict; the means over members a, b; difference (B - A) with the 95 % interval low,
    high; p (of secondary metrics adjusted by Holm's method), p_unadjusted; standard_error and its parts
    between_case_se and between_seed_se (None: a single member on a side); degrees_of_freedom (None:
    infinite); images_needed and members_needed (None: no number suffices); and of the ensembles a, b,
    difference, low, high (between-case only).
    """
    evaluations = review.evaluations
    return {
        "verdict": {split.split: split.rows[0].verdict for split in review.splits},
        "a": _run_json(review.a),
        "b": _run_json(review.b),
        "params": {key: {"a": of_a, "b": of_b} for key, (of_a, of_b) in review.params.items()},
        "test_set_evaluations": {"earlier": evaluations.earlier, "ledger": evaluations.ledger},
        "splits": {split.split: _split_json(split) for split in review.splits},
        "caveats": review.caveats(),
    }


def _run_json(run: Run) -> dict[str, Any]:
    return {"name": run.name, "commit": run.commit, "members": len(run.predictions.members), "test": run.test}


def _split_json(split: Comparison) -> dict[str, Any]:
    return {
        "images": len(split.a.labels),
        "metrics": {row.metric: _row_json(row) for row in split.rows},
        "mcnemar": {
            "newly_misclassified": len(split.newly_misclassified),
            "newly_correct": len(split.newly_correct),
            "p": split.mcnemar,
        },
        "newly_misclassified": flips(split, split.newly_misclassified),
        "newly_correct": flips(split, split.newly_correct),
    }


def _row_json(row: MetricRow) -> dict[str, Any]:
    members, ensemble = row.estimate, row.ensemble
    degrees = members.degrees_of_freedom
    return {
        "verdict": row.verdict,
        "a": row.a,
        "b": row.b,
        "difference": members.difference,
        "low": members.interval[0],
        "high": members.interval[1],
        "p": row.p,
        "p_unadjusted": members.p,
        "standard_error": members.standard_error,
        "between_case_se": members.between_case**0.5,
        "between_seed_se": None if members.single else members.seed_variance**0.5,
        "degrees_of_freedom": degrees if math.isfinite(degrees) else None,
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
