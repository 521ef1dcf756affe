"""What texts are worth: which are no report at all (empty, the prompt given back, a refusal), how often the
others agree with the truth and the classifier, and what is wrong in them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cxr.evaluation.statistics import wilson
from cxr.reports import labeller
from cxr.reports.claims import Claim, unsupported_claims
from cxr.reports.labeller import extract_label
from cxr.reports.writers import Text

Kind = Literal["answered", "empty", "prompt_repeated", "refused"]
RUN = 5  # words in a row
ECHO = 0.5  # share of the prompt's runs that come back, or of the reply's that are the prompt's
REFUSAL = re.compile(
    r"\b(?:i'm|i am|we are) (?:very |so )?sorry|\bi apologi[sz]e"
    r"|\bas an? (?:ai|artificial|(?:large )?language)\b"
    r"|\b(?:can ?not|can't|won't|unable to|not able to|not qualified to|decline to) (?:\w+ )?"
    r"(?:provide|give|offer|interpret|analy[sz]e|diagnose|assist|help|comment|process|view|read)\b"
    r"|\bconsult (?:a|your|an)\b.*(?:doctor|physician|professional|radiologist)"
)


def kind_of(text: Text, classes: Sequence[str]) -> Kind:
    """What the reply is. A reply that names a class is answered, whatever its other words."""
    asked, reply = _words(text.asked), _words(text.reply)
    if not reply:
        return "empty"
    if asked and _echoed(asked, reply):
        return "prompt_repeated"
    plain = text.reply.lower().replace("\u2019", "'")
    if REFUSAL.search(plain) and extract_label(text.reply, classes) == labeller.UNCLEAR:
        return "refused"
    return "answered"


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _echoed(asked: list[str], reply: list[str]) -> bool:
    """Whether half of what was asked comes back, or half of what came is what was asked."""
    ours, theirs = _runs(asked), _runs(reply)
    shared = len(ours & theirs)
    return shared > ECHO * len(ours) or shared > ECHO * len(theirs)


def _runs(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + RUN]) for start in range(max(1, len(words) - RUN + 1))}


@dataclass(frozen=True)
class Scored:
    """A text about a case. verdict: a class, or "unclear", as that of whatever was not answered. flags: kinds
    of claims that cannot be seen."""

    prompt: str
    text: Text
    kind: Kind
    verdict: str
    flags: list[str]


def score(prompt: str, text: Text, classes: Sequence[str], size: int, lexicon: Sequence[Claim]) -> Scored:
    """size: pixels a side of the stored radiograph."""
    kind = kind_of(text, classes)
    answered = kind == "answered"
    return Scored(
        prompt,
        text,
        kind,
        extract_label(text.reply, classes) if answered else labeller.UNCLEAR,
        unsupported_claims(text.reply, size, lexicon) if answered else [],
    )


def agreement(verdicts: Sequence[str], others: Sequence[str]) -> dict[str, float]:
    """The share of `verdicts` that equal `others`, with its 95 % interval (Wilson); "unclear" equals none."""
    share = sum(a == b for a, b in zip(verdicts, others, strict=True)) / len(verdicts)
    low, high = wilson(share, len(verdicts))
    return {"value": share, "low": float(low), "high": float(high)}


def summarise_texts(
    texts: Sequence[Scored], truths: Sequence[str], decisions: Sequence[str], lexicon: Sequence[Claim]
) -> dict[str, Any]:
    """The texts of one prompt, one for each case, as numbers. truths, decisions: class names of the cases.

    `truth` and `classifier` are agreements over all cases; `truth_of_clear` and `classifier_of_clear` over
    those whose verdict is not "unclear", left out where there is none.
    """
    verdicts = [text.verdict for text in texts]
    found: dict[str, Any] = {"texts": len(texts), "unclear": verdicts.count(labeller.UNCLEAR)}
    for name, others in (("truth", truths), ("classifier", decisions)):
        found[name] = agreement(verdicts, others)
        pairs = [(a, b) for a, b in zip(verdicts, others, strict=True) if a != labeller.UNCLEAR]
        if pairs:
            found[f"{name}_of_clear"] = agreement(*zip(*pairs, strict=True))
    for kind in ("empty", "prompt_repeated", "refused"):
        found[kind] = sum(text.kind == kind for text in texts)
    found["flagged"] = sum(bool(text.flags) for text in texts)
    found["flags"] = {claim.name: sum(claim.name in text.flags for text in texts) for claim in lexicon}
    return found
