"""A case, its texts and its truth as JSON."""

from typing import Any

from cxr.reports.page import Entry


def record(entry: Entry) -> dict[str, Any]:
    """A line of reports/cases.jsonl; numbers have six digits, and the truth stands last."""
    case = entry.case
    return {
        "row": case.row,
        "picture": entry.picture,
        "probabilities": {name: round(value, 6) for name, value in case.probabilities.items()},
        "prevalence": {name: round(value, 6) for name, value in case.prevalence.items()},
        "gradcam": {zone: round(share, 6) for zone, share in case.zones.items()},
        "exposure": {
            name: {"value": round(rank.value, 6), "below": round(rank.below, 6)}
            for name, rank in case.exposure.items()
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
