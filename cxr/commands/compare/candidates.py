"""Several candidates against one base: one line each, with p-values adjusted for their number."""

from dataclasses import dataclass

from cxr.commands.compare.estimate import LEVEL
from cxr.commands.compare.review import TITLES, Review, count, p_value
from cxr.evaluation.statistics import holm


@dataclass(frozen=True)
class Ranking:
    """reviews: of each candidate against the same A, in the order given."""

    reviews: list[Review]

    @property
    def adjusted(self) -> list[float]:
        """The p-value of each candidate's primary metric on test, by Holm's method; those with too few
        members keep 1 and count as tested."""
        return holm([review.splits[0].rows[0].estimate.p for review in self.reviews])

    @property
    def verdicts(self) -> list[str]:
        rows = [review.splits[0].rows[0] for review in self.reviews]
        return [
            "inconclusive"
            if p >= LEVEL or not row.estimate.testable
            else ("better" if row.estimate.difference > 0 else "worse")
            for row, p in zip(rows, self.adjusted, strict=True)
        ]

    def markdown(self) -> str:
        first = self.reviews[0]
        row = first.splits[0].rows[0]
        names = [f"`{review.b.name}`" for review in self.reviews]
        of = {
            verdict: [name for name, each in zip(names, self.verdicts, strict=True) if each == verdict]
            for verdict in ("better", "worse")
        }
        parts = [f"{', '.join(listed)} {verdict}" for verdict, listed in of.items() if listed]
        answer = " and ".join(parts) or "none is better or worse"
        lines = [
            f"**Of {count(len(names), 'candidate')} against `{first.a.name}`: {answer}** (test "
            f"{TITLES[row.metric]}, p-values adjusted by Holm's method for {len(names)} comparisons).",
            "",
            f"| candidate | design | {row.metric} | difference | 95 % interval, unadjusted | p, adjusted "
            "| verdict | detectable |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for name, review, p, verdict in zip(names, self.reviews, self.adjusted, self.verdicts, strict=True):
            row = review.splits[0].rows[0]
            low, high = row.estimate.interval
            evidence = f"{low:+.4f} to {high:+.4f} | {p_value(p)} | {verdict} | {row.detectable:.4f}"
            lines.append(
                f"| {name} | {row.estimate.design} | {row.b:.4f} | {row.estimate.difference:+.4f} "
                f"| {evidence if row.estimate.testable else '| | inconclusive |'} |"
            )
        notes = [f"- {review.b.name}: {note}" for review in self.reviews for note in review.notes]
        return "\n".join([*lines, *(["", *notes] if notes else [])])
