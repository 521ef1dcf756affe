"""What texts are worth: how often they agree with the truth and the classifier, and what is wrong in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cxr.intervals import wilson
from cxr.reports import claims, replies, verdict
from cxr.reports.claims import Claim
from cxr.reports.interface import Text


@dataclass(frozen=True)
class Scored:
    """A text about a case. verdict: a class, or "unclear", as that of whatever was not answered. flags: kinds
    of claims that cannot be seen."""

    prompt: str
    text: Text
    kind: replies.Kind
    verdict: str
    flags: list[str]


def score(prompt: str, text: Text, classes: Sequence[str], size: int, lexicon: Sequence[Claim]) -> Scored:
    """size: pixels a side of the stored film."""
    kind = replies.kind(text, classes)
    answered = kind == "answered"
    return Scored(
        prompt,
        text,
        kind,
        verdict.parse(text.reply, classes) if answered else verdict.UNCLEAR,
        claims.flags(text.reply, size, lexicon) if answered else [],
    )


def agreement(verdicts: Sequence[str], others: Sequence[str]) -> dict[str, float]:
    """The share of `verdicts` that equal `others`, with its 95 % interval (Wilson); "unclear" equals none."""
    share = sum(a == b for a, b in zip(verdicts, others, strict=True)) / len(verdicts)
    low, high = wilson(share, len(verdicts))
    return {"value": share, "low": float(low), "high": float(high)}


def summarise(
    texts: Sequence[Scored], truths: Sequence[str], decisions: Sequence[str], lexicon: Sequence[Claim]
) -> dict[str, Any]:
    """The texts of one prompt, one for each case, as numbers. truths, decisions: class names of the cases.

    `truth` and `classifier` are agreements over all cases; `truth_of_clear` and `classifier_of_clear` over
    those whose verdict is not "unclear", left out where there is none.
    """
    verdicts = [text.verdict for text in texts]
    found: dict[str, Any] = {"texts": len(texts), "unclear": verdicts.count(verdict.UNCLEAR)}
    for name, others in (("truth", truths), ("classifier", decisions)):
        found[name] = agreement(verdicts, others)
        pairs = [(a, b) for a, b in zip(verdicts, others, strict=True) if a != verdict.UNCLEAR]
        if pairs:
            found[f"{name}_of_clear"] = agreement(*zip(*pairs, strict=True))
    for kind in ("empty", "echoed", "refused"):
        found[kind] = sum(text.kind == kind for text in texts)
    found["flagged"] = sum(bool(text.flags) for text in texts)
    found["flags"] = {claim.name: sum(claim.name in text.flags for text in texts) for claim in lexicon}
    return found
