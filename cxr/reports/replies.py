"""Replies that are no report: empty ones, the prompt given back, and refusals."""

import re
from collections.abc import Sequence
from typing import Literal

from cxr.reports import verdict
from cxr.reports.interface import Text

Kind = Literal["answered", "empty", "echoed", "refused"]

RUN = 5  # words in a row
ECHO = 0.5  # share of the prompt's runs that come back, or of the reply's that are the prompt's
REFUSAL = re.compile(
    r"\b(?:i'm|i am|we are) (?:very |so )?sorry|\bi apologi[sz]e"
    r"|\bas an? (?:ai|artificial|(?:large )?language)\b"
    r"|\b(?:can ?not|can't|won't|unable to|not able to|not qualified to|decline to) (?:\w+ )?"
    r"(?:provide|give|offer|interpret|analy[sz]e|diagnose|assist|help|comment|process|view|read)\b"
    r"|\bconsult (?:a|your|an)\b.*(?:doctor|physician|professional|radiologist)"
)


def kind(text: Text, classes: Sequence[str]) -> Kind:
    """What the reply is. A reply that names a class is answered, whatever its other words."""
    asked, reply = _words(text.asked), _words(text.reply)
    if not reply:
        return "empty"
    if asked and _echoed(asked, reply):
        return "echoed"
    plain = text.reply.lower().replace("\u2019", "'")
    if REFUSAL.search(plain) and verdict.parse(text.reply, classes) == verdict.UNCLEAR:
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
