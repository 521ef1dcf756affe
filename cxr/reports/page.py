"""reports/cases.md: each radiograph with what was measured and written about it, and after that the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr.params import Report
from cxr.reports.cases import Case, prevalence_in_words
from cxr.reports.claims import Claim
from cxr.reports.labeller import UNCLEAR
from cxr.reports.markdown import Tree, render_template
from cxr.reports.scoring import Scored

TEMPLATE = Path(__file__).with_name("cases.md.j2")


@dataclass(frozen=True)
class Entry:
    """A case and its texts. truth: the name of its class. picture: a file's place as seen from the page."""

    case: Case
    texts: Sequence[Scored]
    truth: str
    picture: str


def render_page(settings: Report, entries: Sequence[Entry], metrics: Tree, lexicon: Sequence[Claim]) -> str:
    """Markdown. metrics: the content of metrics/report.json."""
    first = entries[0].case
    return render_template(
        TEMPLATE,
        writer=settings,
        entries=entries,
        metrics=metrics,
        prevalence=prevalence_in_words(first.prevalence),
        size=first.size,
        beyond=[claim for claim in lexicon if claim.beyond(first.size)],
        judged=judged,
    )


def judged(label: str, truth: str) -> str:
    return label if label == UNCLEAR else "correct" if label == truth else "wrong"


def record(entry: Entry) -> dict[str, Any]:
    """A line of reports/cases.jsonl; numbers have six digits, and the truth stands last."""
    case = entry.case
    return {
        "row": case.row,
        "picture": entry.picture,
        "probabilities": {name: round(value, 6) for name, value in case.probabilities.items()},
        "prevalence": {name: round(value, 6) for name, value in case.prevalence.items()},
        "gradcam": {zone: round(share, 6) for zone, share in case.zones.items()},
        "image_statistics": {
            name: {"value": round(rank.value, 6), "below": round(rank.below, 6)}
            for name, rank in case.image_statistics.items()
        },
        "neighbours": [
            {"row": each.row, "class": each.name, case.metric: round(each.value, 6)}
            for each in case.neighbours
        ],
        "texts": [
            {
                "prompt": text.prompt,
                "asked": text.text.asked,
                "reply": text.text.reply,
                "kind": text.kind,
                "verdict": text.verdict,
                "flags": text.flags,
            }
            for text in entry.texts
        ],
        "classifier": case.decision,
        "truth": entry.truth,
    }
