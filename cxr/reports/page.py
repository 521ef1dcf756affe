"""reports/cases.md: each film with what was measured and written about it, and after that the truth."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cxr.markdown import Tree, number, span, table
from cxr.params import Report
from cxr.reports.case import Case, shares_in_words
from cxr.reports.claims import Claim
from cxr.reports.scoring import Scored
from cxr.reports.verdict import UNCLEAR


@dataclass(frozen=True)
class Entry:
    """A case and its texts. truth: the name of its class. picture: a file's place as seen from the page."""

    case: Case
    texts: Sequence[Scored]
    truth: str
    picture: str


def render(settings: Report, entries: Sequence[Entry], metrics: Tree, lexicon: Sequence[Claim]) -> str:
    """Markdown. metrics: the content of metrics/report.json."""
    parts = [_head(settings, entries), _agreement(metrics), _claims(entries, lexicon)]
    parts += [_case(place, entry) for place, entry in enumerate(entries, start=1)]
    return "\n".join(line for part in parts for line in [*part, ""]).rstrip() + "\n"


def _head(settings: Report, entries: Sequence[Entry]) -> list[str]:
    prevalence = shares_in_words(entries[0].case.prevalence)
    return [
        f"# Texts about {len(entries)} test films",
        "",
        "**For research and teaching. Not a medical device: no output of it may be used to diagnose or treat "
        "anyone.**",
        "",
        _writer(settings),
        "",
        "The films are drawn by `seed` from each kind of decision, right ones and errors, about as many of "
        "one kind as of another: errors are far more frequent here than in test. The classifier's "
        f"probabilities are calibrated and refer to films of which {prevalence}. The truth stands after the "
        "text, so that you can read a film yourself first. A picture's left is the patient's right if the "
        "film hangs as usual.",
    ]


def _writer(settings: Report) -> str:
    if settings.writer == "template":
        return (
            "**The texts are a template**: measurements put into fixed sentences. No language model and no "
            "physician wrote them. They repeat the classifier, so they always agree with it."
        )
    if settings.writer == "none":
        return "No text was written (`report.writer: none`)."
    return (
        f"The texts are by the language model `{settings.writer}` (revision `{settings.revision}`, "
        f"quantisation `{settings.quantisation}`), as it wrote them. No physician has checked them."
    )


def _agreement(metrics: Tree) -> list[str]:
    if not metrics["prompts"]:
        return []
    rows = [
        (
            f"`{name}`",
            *(
                _share(found.get(key))
                for key in ("truth", "truth_of_clear", "classifier", "classifier_of_clear")
            ),
            *(found[key] for key in ("unclear", "empty", "echoed", "refused", "flagged")),
        )
        for name, found in metrics["prompts"].items()
    ]
    return [
        f"The classifier itself has {_share(metrics['classifier'])} of these films right. Agreement of the "
        "texts' verdicts, with 95 % intervals (Wilson), over all texts and over those with a clear verdict; "
        "then how many texts were unclear, empty, the prompt given back, a refusal, or claimed what cannot "
        "be seen:",
        "",
        *table(
            (
                *("prompt", "with the truth", "if clear", "with the classifier", "if clear"),
                *("unclear", "empty", "echoed", "refused", "flagged"),
            ),
            rows,
        ),
    ]


def _share(found: Tree | None) -> str:
    return f"{number(found['value'])} ({span(found, 'low', 'high')})" if found else ""


def _claims(entries: Sequence[Entry], lexicon: Sequence[Claim]) -> list[str]:
    size = entries[0].case.size
    beyond = [claim for claim in lexicon if claim.beyond(size)]
    if not beyond or not entries[0].texts:
        return []
    return [
        f"Flagged at {size} pixels a side, by `cxr/reports/claims.yaml`: "
        + "; ".join(f"{_title(claim.name)} ({claim.why})" for claim in beyond)
        + ".",
    ]


def _case(place: int, entry: Entry) -> list[str]:
    case = entry.case
    said = "<br>".join(f"{name}&nbsp;{value:.3f}" for name, value in case.probabilities.items())
    judged = [f"the classifier is {_right(case.decision, entry.truth)}"]
    judged += [f"`{text.prompt}` is {_right(text.verdict, entry.truth)}" for text in entry.texts]
    return [
        f"## Case {place}",
        "",
        f"![Film, Grad-CAM and the most similar films of case {place}]({entry.picture})",
        "",
        *table(
            ("classifier", *(f"`{text.prompt}`" for text in entry.texts)),
            [(said, *(f"{_cell(text.text.reply)}<br><br>{_remarks(text)}" for text in entry.texts))],
        ),
        "",
        f"**Truth: {entry.truth}** (row {case.row} of the data set): {', '.join(judged)}.",
    ]


def _right(verdict: str, truth: str) -> str:
    return verdict if verdict == UNCLEAR else "right" if verdict == truth else "wrong"


def _remarks(text: Scored) -> str:
    flags: list[str] = [] if text.kind == "answered" else [text.kind]
    flags += [f"claims what cannot be seen: {_title(flag)}" for flag in text.flags]
    return f"**Verdict heard: {text.verdict}. Flags: {', '.join(flags) or 'none'}.**"


def _title(name: str) -> str:
    return name.replace("_", " ")


def _cell(text: str) -> str:
    """`text` in a table's cell as it is: no Markdown, picture or HTML of a model's comes to life."""
    safe = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", html.escape(text.strip(), quote=False))
    return "<br>".join(safe.splitlines()) or "(empty)"
