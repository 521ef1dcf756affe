"""Claims in texts that cannot be seen at the stored resolution, by the lexicon claims.yaml."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cxr.core.checked import Section, check_section
from cxr.core.errors import UserError

LEXICON = Path(__file__).with_name("claims.yaml")
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
# A sentence that states that something cannot be judged makes no claim.
NOT_JUDGED = re.compile(
    r"\b(?:can(?:no|')t|can not|could not|not possible|impossible|unable|too (?:low|small|coarse)|not be"
    r"|not (?:allow|permit|suffice)|beyond what)\b.*"
    r"\b(?:seen?|judged?|assess(?:ed)?|evaluated?|excluded?|rule[sd]? out|determined?|measured?|detect(?:ed)?"
    r"|shown?|resolved?|visible|tell|said|say)\b"
)


class _Entry(Section):
    from_size: int | Literal["never"]
    why: str
    words: Annotated[list[str], Field(min_length=1)]


@dataclass(frozen=True)
class Claim:
    """A kind of claim. from_size: the smallest radiograph (pixels a side) that can show it, None for never.
    why: the reason. pattern: for lower-case text."""

    name: str
    from_size: int | None
    why: str
    pattern: re.Pattern[str]

    def beyond(self, size: int) -> bool:
        """Whether radiographs of `size` pixels a side cannot show what is claimed."""
        return self.from_size is None or size < self.from_size


def load_claims(path: Path = LEXICON) -> list[Claim]:
    """Raises `UserError` if the lexicon is not valid: an unknown key, a wrong type, an invalid expression."""
    try:
        tree: Any = YAML(typ="safe").load(path)
    except YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: must hold one entry for each kind of claim")
    return [_claim(name, check_section(_Entry, entry, path, str(name)), path) for name, entry in tree.items()]


def unsupported_claims(text: str, size: int, lexicon: Sequence[Claim]) -> list[str]:
    """The names of the claims in `text` that a radiograph of `size` pixels a side cannot support."""
    sentences = [sentence for sentence in SENTENCE.split(text.lower()) if not NOT_JUDGED.search(sentence)]
    return [
        claim.name
        for claim in lexicon
        if claim.beyond(size) and any(claim.pattern.search(sentence) for sentence in sentences)
    ]


def _claim(name: str, entry: _Entry, path: Path) -> Claim:
    for words in entry.words:
        try:
            re.compile(words)
        except re.error as error:
            raise UserError(f"{path}: {name}.words has {words!r}, no regular expression: {error}") from None
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(entry.words)})(?!\w)")
    return Claim(name, None if entry.from_size == "never" else entry.from_size, entry.why, pattern)
