"""reports/cases.md: each radiograph with what was measured and written about it, and after that the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr import markdown
from cxr.markdown import Tree
from cxr.params import Report
from cxr.reports.case import Case, shares_in_words
from cxr.reports.claims import Claim
from cxr.reports.scoring import Scored
from cxr.reports.verdict import UNCLEAR

TEMPLATE = Path(__file__).with_name("cases.md.j2")


@dataclass(frozen=True)
class Entry:
    """A case and its texts. truth: the name of its class. picture: a file's place as seen from the page."""

    case: Case
    texts: Sequence[Scored]
    truth: str
    picture: str


def render(settings: Report, entries: Sequence[Entry], metrics: Tree, lexicon: Sequence[Claim]) -> str:
    """Markdown. metrics: the content of metrics/report.json."""
    first = entries[0].case
    return markdown.render(
        TEMPLATE,
        writer=settings,
        entries=entries,
        metrics=metrics,
        prevalence=shares_in_words(first.prevalence),
        size=first.size,
        beyond=[claim for claim in lexicon if claim.beyond(first.size)],
        judged=judged,
    )


def judged(label: str, truth: str) -> str:
    return label if label == UNCLEAR else "correct" if label == truth else "wrong"
