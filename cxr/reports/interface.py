"""Whoever writes about a film stands behind this interface."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cxr.reports.case import Case


@dataclass(frozen=True)
class Text:
    """asked: the words that a language model was given, "" where there is none. reply: what was written."""

    asked: str
    reply: str


class Writer(Protocol):
    @property
    def prompts(self) -> Sequence[str]:
        """The names under which its texts stand: one text for each of them and each case."""

    def write(self, case: Case, prompt: str) -> Text: ...

    def close(self) -> None:
        """Free its memory; it writes nothing afterwards."""
