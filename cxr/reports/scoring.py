"""Scores of texts: which are no report (empty, a repetition of the prompt, a refusal), how often the others
agree with the label and with the classifier, and which claims they cannot support."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cxr.reports import labeller
from cxr.reports.agreement import agreement, by_true_class, kappa
from cxr.reports.claims import Claim, unsupported_claims
from cxr.reports.labeller import extract_label
from cxr.reports.writers import Text

Kind = Literal["answered", "empty", "prompt_repeated", "refused"]
RUN = 5  # words in a row
REPEATED = 0.5  # fraction of the prompt's runs that recur, or of the response's that are the prompt's
REFUSAL = re.compile(
    r"\b(?:i'm|i am|we are) (?:very |so )?sorry|\bi apologi[sz]e"
    r"|\bas an? (?:ai|artificial|(?:large )?language)\b"
    r"|\b(?:can ?not|can't|won't|unable to|not able to|not qualified to|decline to) (?:\w+ )?"
    r"(?:provide|give|offer|interpret|analy[sz]e|diagnose|assist|help|comment|process|view|read)\b"
    r"|\bconsult (?:a|your|an)\b.*(?:doctor|physician|professional|radiologist)"
)


def kind_of(text: Text, classes: Sequence[str]) -> Kind:
    """A response that names a class is answered, whatever its other words."""
    prompt, response = _words(text.prompt_text), _words(text.response)
    if not response:
        return "empty"
    if prompt and _repeats(prompt, response):
        return "prompt_repeated"
    plain = text.response.lower().replace("\u2019", "'")
    if REFUSAL.search(plain) and extract_label(text.response, classes) == labeller.UNCLEAR:
        return "refused"
    return "answered"


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _repeats(prompt: list[str], response: list[str]) -> bool:
    """Whether more than half of the prompt is in the response, or of the response in the prompt."""
    of_prompt, of_response = _runs(prompt), _runs(response)
    shared = len(of_prompt & of_response)
    return shared > REPEATED * len(of_prompt) or shared > REPEATED * len(of_response)


def _runs(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + RUN]) for start in range(max(1, len(words) - RUN + 1))}


@dataclass(frozen=True)
class Scored:
    """A text about a case. prompt: its name. extracted_label: a class, or "unclear", also for every kind but
    "answered". flags: names of claims that cannot be seen at the stored resolution."""

    prompt: str
    text: Text
    kind: Kind
    extracted_label: str
    flags: list[str]


def score(prompt: str, text: Text, classes: Sequence[str], size: int, lexicon: Sequence[Claim]) -> Scored:
    """size: pixels a side of the stored radiograph."""
    kind = kind_of(text, classes)
    answered = kind == "answered"
    return Scored(
        prompt,
        text,
        kind,
        extract_label(text.response, classes) if answered else labeller.UNCLEAR,
        unsupported_claims(text.response, size, lexicon) if answered else [],
    )


def summarise_classifier(
    decisions: Sequence[str], labels: Sequence[str], classes: Sequence[str]
) -> dict[str, Any]:
    """The decisions on the cases against their labels: `agreement`, `kappa` and `by_true_class` of
    `cxr.reports.agreement`."""
    summary = {**agreement(decisions, labels), **by_true_class(decisions, labels, classes)}
    return summary | _defined({"kappa": kappa(decisions, labels)})


def summarise_texts(
    texts: Sequence[Scored],
    labels: Sequence[str],
    decisions: Sequence[str],
    classes: Sequence[str],
    lexicon: Sequence[Claim],
) -> dict[str, Any]:
    """The texts of one prompt, one for each case, in numbers. labels, decisions: class names of the cases.

    `label` and `classifier` are the agreements of extracted labels with them over all cases,
    `label_if_clear` and `classifier_if_clear` over those whose extracted label is not "unclear"; the latter
    two are missing if there are none. `label_kappa` and `classifier_kappa` are over all cases, and missing
    where they are not defined. The rest is `cxr.reports.agreement.by_true_class`, and counts.
    """
    extracted = [text.extracted_label for text in texts]
    summary: dict[str, Any] = {"texts": len(texts), "unclear": extracted.count(labeller.UNCLEAR)}
    for name, others in (("label", labels), ("classifier", decisions)):
        summary[name] = agreement(extracted, others)
        summary |= _defined({f"{name}_kappa": kappa(extracted, others)})
        pairs = [(a, b) for a, b in zip(extracted, others, strict=True) if a != labeller.UNCLEAR]
        if pairs:
            summary[f"{name}_if_clear"] = agreement(*zip(*pairs, strict=True))
    summary |= by_true_class(extracted, labels, classes, [labeller.UNCLEAR])
    for kind in ("empty", "prompt_repeated", "refused"):
        summary[kind] = sum(text.kind == kind for text in texts)
    summary["flagged"] = sum(bool(text.flags) for text in texts)
    summary["flags"] = {claim.name: sum(claim.name in text.flags for text in texts) for claim in lexicon}
    return summary


def _defined(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
