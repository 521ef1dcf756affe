"""A comparison of two runs as Markdown for reviewers, of at most 40 lines: the answer first."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr.commands.compare.comparison import Comparison, MetricRow, flips
from cxr.commands.compare.estimate import MEMBERS, POWER
from cxr.commands.compare.runs import DETAILS, EvaluationsOnTest, Run
from cxr.reports import ledger

FLIPS_SHOWN = 3  # of each direction; --json has all
TITLES = {"auc": "AUC", "auc_ovr_macro": "macro AUC"}
NOTES = {"brier": " (lower is better)", "nll": " (log loss, lower is better)"}


@dataclass(frozen=True)
class Review:
    """splits: test first. params: those that differ, the values of A and of B by dotted key. evaluations: how
    often test was evaluated before B. notes: sentences about images that were left out."""

    a: Run
    b: Run
    splits: list[Comparison]
    params: dict[str, tuple[Any, Any]]
    evaluations: EvaluationsOnTest
    notes: list[str]

    def markdown(self) -> str:
        sides = f"A: {_side(self.a)}. B: {_side(self.b)}."
        lines = ["**The predictions of A and B are identical**: nothing to compare.", "", sides]
        if not self.identical:
            test, val = self.splits
            lines = [f"**{answer_sentence(test)}**  "]
            lines += [f"{secondary}  "] if (secondary := _secondary(test)) else []
            lines += [
                f"{_on_val(val)}  ",
                "",
                f"{sides} {design_sentence(self.a, self.b, test)}",
                *self.notes,
            ]
            lines += ["", *_table(test)]
        lines += ["", "**Parameters (A, B):** " + _changes(self.params)]
        if not self.identical:
            lines += ["", _discordant(test), *_flips(test)]
        if caveats := self.caveats():
            lines += ["", *(f"- {caveat}" for caveat in caveats)]
        return "\n".join(lines)

    @property
    def identical(self) -> bool:
        """After a change of documents or tests, B was not run again, or its run changed nothing."""
        a, b = self.a.predictions, self.b.predictions
        return (
            np.array_equal(a.members, b.members)
            and np.array_equal(a.ensemble, b.ensemble)
            and self.a.threshold == self.b.threshold
        )

    def caveats(self) -> list[str]:
        """What limits the conclusions, a sentence or two each."""
        row = self.splits[0].rows[0]
        disagreements = [
            line
            for run, mean in ((self.a, row.a), (self.b, row.b))
            if not self.notes and len(run.predictions.members) in self.splits[0].compared
            for line in _disagreement(run, row.metric, mean)
        ]
        return disagreements if self.identical else self._reservations() + disagreements

    def _reservations(self) -> list[str]:
        reservations = [
            f'Test-set reuse: {self._reuse()}. With every test-set evaluation a "better" by chance becomes '
            "more likely.",
            "The temperature, and perhaps more, was chosen on val, and each threshold counts as known. If "
            "val and test disagree, rely on test.",
            "p-values and verdicts of secondary metrics are adjusted by Holm's method; intervals are not.",
        ]
        if not self.splits[0].patients:
            reservations.append(
                "Patients are unknown here, so every radiograph counts as a patient of its own; intervals "
                "are too narrow where several are of one patient."
            )
        reservations += [
            f"{DETAILS} of {run.name} states no threshold: the most probable class counts as its decision."
            for run in (self.a, self.b)
            if not run.stated
        ]
        return reservations

    def _reuse(self) -> str:
        earlier = self.evaluations.earlier
        if self.evaluations.ledger:
            return f"by {ledger.PATH} at A, test was evaluated {count(earlier, 'time')} before B"
        commits = count(earlier, "commit")
        return (
            f"A has no ledger of this test set ({ledger.PATH}); besides B, at least {commits} in the history "
            "published test results"
        )


def answer_sentence(split: Comparison) -> str:
    """The verdict on the primary metric as one sentence, with what it rests on."""
    row = split.rows[0]
    result, title = row.estimate, f"{split.split} {TITLES[row.metric]}"
    if not result.testable:
        fewest = min(len(split.a.members), len(split.b.members))
        return (
            f"No verdict: one side has {count(fewest, 'member')}, and a p-value needs {MEMBERS} members on "
            f"each ({title} {result.difference:+.4f})."
        )
    if not result.standard_error:
        return f"No difference in {title}: A and B rank the radiographs alike."
    low, high = result.interval
    numbers = (
        f"{title} {result.difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}, p {p_value(row.p, '= ')}"
    )
    if row.verdict != "inconclusive":
        return f"B is {row.verdict} than A: {numbers}."
    return (
        f"Inconclusive, B may be better or worse than A: {numbers}. This comparison would have found a "
        f"difference of {row.detectable:.4f} with {100 * POWER:.0f} % power; {_needed(row, split.split)}."
    )


def design_sentence(a: Run, b: Run, split: Comparison) -> str:
    """Which form of the test was used, and why."""
    of_a, of_b = len(a.predictions.members), len(b.predictions.members)
    if split.design == "paired":
        sentence = f"Members with the same seed are paired ({count(min(of_a, of_b), 'pair')})."
        rest = abs(of_a - of_b)
        larger = "A" if of_a > of_b else "B"
        return sentence + (
            f" {count(rest, 'member')} of {larger} without a partner {'is' if rest == 1 else 'are'} left out."
            if rest
            else ""
        )
    if split.design == "same weights":
        return (
            "Both have the same weights, so no training differs: paired, without a between-seed term; the "
            "result holds for these networks."
        )
    if split.design == "unpaired":
        return "The seeds differ, so members are unpaired."
    return "No p-values and no intervals."


def count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def p_value(value: float, sign: str = "") -> str:
    """sign: before a value that is not too small to be named."""
    return f"{sign}{value:.3f}" if value >= 0.001 else "< 0.001"


def _on_val(split: Comparison) -> str:
    row = split.rows[0]
    low, high = row.estimate.interval
    numbers = f"{row.estimate.difference:+.4f}"
    if row.estimate.testable:
        numbers += f", 95 % interval {low:+.4f} to {high:+.4f}"
    line = f"On val: {TITLES[row.metric]} {row.verdict} ({numbers})"
    return f"{line}; {_changed(split)}" if _changed(split) else line


def _secondary(split: Comparison) -> str:
    """Secondary metrics that changed; they can even where the ranking of the radiographs, and so AUC, did
    not."""
    return f"Other metrics on {split.split}: {_changed(split)}" if _changed(split) else ""


def _changed(split: Comparison) -> str:
    metrics: dict[str, list[str]] = {}
    for row in split.rows[1:]:
        metrics.setdefault(row.verdict, []).append(f"`{row.metric}`")
    parts = [f"**{name}** in {', '.join(metrics[name])}" for name in ("worse", "better") if name in metrics]
    return "; ".join(parts)


def _needed(row: MetricRow, split: str) -> str:
    if not row.estimate.difference:
        return "none was observed"
    images = row.images_needed and f"about {_rounded(row.images_needed)} {split} radiographs"
    members = row.members_needed and f"about {_rounded(row.members_needed)} members a side"
    if images and members:
        return f"for this one {images} or {members} would be needed"
    if images:
        return f"for this one {images} would be needed, more members would not suffice"
    if members:
        return f"for this one {members} would be needed, more radiographs would not suffice"
    return f"for this one neither more {split} radiographs nor more members alone would suffice"


def _rounded(number: int) -> str:
    """Two significant digits: these numbers are estimates."""
    return f"{float(f'{number:.2g}'):,.0f}"


def _side(run: Run) -> str:
    name = f"`{run.name}` ({run.commit[:7]})" if run.commit else run.name
    limit = "the most probable class" if run.threshold is None else f"threshold {run.threshold:g}"
    return f"{name}, {count(len(run.predictions.members), 'member')}, {limit}"


def _table(split: Comparison) -> list[str]:
    lines = [
        f"| {split.split}, {len(split.a.labels):,} radiographs | A | B | B - A | 95 % interval | p | verdict "
        "| detectable | ensemble A | ensemble B |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in split.rows:
        low, high = row.estimate.interval
        name = f"`{row.metric}`{NOTES.get(row.metric, '')}"
        verdict = row.verdict if row.verdict == "inconclusive" else f"**{row.verdict}**"
        evidence = f"{low:+.4f} to {high:+.4f} | {p_value(row.p)} | {verdict} | {row.detectable:.4f}"
        if not row.estimate.testable:
            evidence = "| | |"
        lines.append(
            f"| {name} | {row.a:.4f} | {row.b:.4f} | {row.estimate.difference:+.4f} | {evidence} "
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
    return (
        f"**Decisions of the ensembles on {split.split}:** B newly misclassifies "
        f"{count(len(split.newly_misclassified), 'radiograph')}, {len(split.newly_correct):,} are newly "
        f"correct (McNemar's exact test: p {p_value(split.mcnemar, '= ')}, about these two ensembles: it "
        "ignores that other seeds would decide otherwise)."
    )


def _flips(split: Comparison) -> list[str]:
    """A table of the changed decisions, the greatest changes of probability first."""
    listed = {"newly misclassified": split.newly_misclassified, "newly correct": split.newly_correct}
    if not any(len(positions) for positions in listed.values()):
        return []
    lines = ["", f"| {split.split}: row | change | true class | p(true class) in A | in B |"]
    lines.append("|---|---|---|---|---|")
    for title, positions in listed.items():
        rest = len(positions) - FLIPS_SHOWN
        lines += [
            f"| {flip['row']} | {title} | {flip['label']} | {flip['p_label_a']:.3f} "
            f"| {flip['p_label_b']:.3f} |"
            for flip in flips(split, positions[:FLIPS_SHOWN])
        ]
        lines += [f"| and {rest:,} more | {title} | | | |"] if rest > 0 else []
    return lines


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
