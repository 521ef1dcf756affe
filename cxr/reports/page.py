"""reports/cases.md and reports/cases.jsonl: each radiograph, its measurements and reports, its label last."""

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
    """A case and its texts. label: the name of its class. figure: path of a PNG, relative to the page."""

    case: Case
    texts: Sequence[Scored]
    label: str
    figure: str


def render_page(
    settings: Report, precision: str, entries: Sequence[Entry], metrics: Tree, lexicon: Sequence[Claim]
) -> str:
    """Markdown. precision: of the writer. metrics: the content of metrics/report.json."""
    first = entries[0].case
    return render_template(
        TEMPLATE,
        writer=settings,
        precision=precision,
        entries=entries,
        metrics=metrics,
        prevalence=prevalence_in_words(first.prevalence),
        size=first.size,
        beyond=[claim for claim in lexicon if claim.beyond(first.size)],
        judged=judged,
    )


def judged(name: str, label: str) -> str:
    return name if name == UNCLEAR else "correct" if name == label else "wrong"


def record(entry: Entry) -> dict[str, Any]:
    """A line of reports/cases.jsonl; numbers are rounded to six digits.

    row: of the data set. figure: see `Entry`. probabilities, prevalence: by class. gradcam: fraction of the
    map's mass by zone. image_statistics: by name the value, and below, its rank in the training radiographs
    (0 to 1). neighbours: row, label, and cosine or distance. texts: prompt (its name), prompt_text, response,
    kind, extracted_label, flags (see `cxr.reports.scoring`). typicality, unlike, unlike_reason: see
    `cxr.inference.typicality`. classifier: its decision. label: last.
    """
    case = entry.case
    return {
        "row": case.row,
        "figure": entry.figure,
        "probabilities": {name: round(value, 6) for name, value in case.probabilities.items()},
        **case.typicality.to_json(),
        "prevalence": {name: round(value, 6) for name, value in case.prevalence.items()},
        "gradcam": {zone: round(fraction, 6) for zone, fraction in case.zones.items()},
        "image_statistics": {
            name: {"value": round(rank.value, 6), "below": round(rank.below, 6)}
            for name, rank in case.image_statistics.items()
        },
        "neighbours": [
            {"row": neighbour.row, "label": neighbour.name, case.metric: round(neighbour.value, 6)}
            for neighbour in case.neighbours
        ],
        "texts": [
            {
                "prompt": text.prompt,
                "prompt_text": text.text.prompt_text,
                "response": text.text.response,
                "kind": text.kind,
                "extracted_label": text.extracted_label,
                "flags": text.flags,
            }
            for text in entry.texts
        ],
        "classifier": case.decision,
        "label": entry.label,
    }
