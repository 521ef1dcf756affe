"""A rule-based labeller: the class that a text names, with negation and uncertainty taken into account.

After NegEx (Chapman et al., 2001, https://doi.org/10.1006/jbin.2001.1029), with the three categories of the
CheXpert labeller (Irvin et al., 2019, https://arxiv.org/abs/1901.07031): each mention of a class is affirmed,
denied or left open (uncertain) by the phrases around it in its clause. "Likely" and "consistent with" affirm;
"possible" and "cannot exclude" leave open.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from cxr.reports import phrases

UNCLEAR = "unclear"
AFFIRMED, DENIED, OPEN, NOTHING = "affirmed", "denied", "open", "nothing"


def _any(words: Iterable[str]) -> str:
    """A pattern for any of `words`; of two with the same beginning the longer one matches."""
    return rf"\b(?:{'|'.join(sorted(map(re.escape, words), key=lambda word: (-len(word), word)))})\b"


BEFORE = {
    **dict.fromkeys(phrases.DENIES_BEFORE, DENIED),
    **dict.fromkeys(phrases.OPENS_BEFORE, OPEN),
    **dict.fromkeys(phrases.NO_DENIAL, NOTHING),
}
AFTER = {
    **dict.fromkeys(phrases.DENIES_AFTER, DENIED),
    **dict.fromkeys(phrases.OPENS_AFTER, OPEN),
    **dict.fromkeys(phrases.AFFIRMS_AFTER, AFFIRMED),
}
IN_FRONT, BEHIND, ASIDE = (re.compile(_any(words)) for words in (BEFORE, AFTER, phrases.ASIDE))
FILLER = re.compile(_any(phrases.FILLERS))
CLAUSE = re.compile(rf"[;:()]|\.\s|{_any(phrases.CLAUSE_STARTS)}|,\s*(?={_any(phrases.COMMA_STARTS)})")
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
# "Verdict: normal" names a class by its bare name, on the same line or the next one; after "Impression:"
# sentences follow, in which a bare "normal" may refer to the heart.
ANSWER = re.compile(r"(?:^|[.!?]\s)\W*(?:final )?(?:verdict|answer)\b\W*:\W*([^\n]+)", re.I | re.M)
SUMMARY = re.compile(r"(?:^|[.!?]\s)\W*(?:impression|conclusion|diagnosis)\b\W*:(.+?)\Z", re.I | re.M | re.S)


def extract_label(text: str, classes: Sequence[str]) -> str:
    """The one of `classes` that `text` states, or "unclear".

    Read is what follows the last "Verdict:" or "Answer:", else what follows the last "Impression:",
    "Conclusion:" or "Diagnosis:", else the whole text. A class that is left open makes the text unclear, as
    do two affirmed ones. If "normal" is a class, a text that denies all others states it.
    """
    if answers := ANSWER.findall(text):
        return _decide(_statuses(answers[-1], classes, bare=True), classes)
    statuses: dict[str, set[str]] = {}
    if summaries := SUMMARY.findall(text):
        statuses = _statuses(summaries[-1], classes, bare=False)
    return _decide(statuses or _statuses(text, classes, bare=False), classes)


def _decide(statuses: Mapping[str, set[str]], classes: Sequence[str]) -> str:
    """statuses: of each class that is mentioned."""
    affirmed = [name for name in statuses if AFFIRMED in statuses[name]]
    denied = [name for name in statuses if DENIED in statuses[name]]
    left_open = [name for name in statuses if OPEN in statuses[name] and name not in affirmed]
    if left_open or set(affirmed) & set(denied) or len(affirmed) > 1:
        return UNCLEAR
    rest = affirmed or [name for name in classes if name not in denied]
    return rest[0] if affirmed or [name.lower() for name in rest] == [phrases.HEALTHY] else UNCLEAR


def _statuses(text: str, classes: Sequence[str], bare: bool) -> dict[str, set[str]]:
    """bare: a "normal" on its own refers to the whole radiograph."""
    statuses: dict[str, set[str]] = {}
    for sentence in SENTENCE.split(text):
        if sentence.rstrip().endswith("?"):
            continue
        words = plain(sentence)
        alone = bare or words.strip(" .!*-") == phrases.HEALTHY
        for clause in CLAUSE.split(words):
            if not ASIDE.search(clause):
                for name, status in _mentions(clause, classes, alone):
                    statuses.setdefault(name, set()).add(status)
    return statuses


def plain(sentence: str) -> str:
    """`sentence` normalised as the phrases of `cxr.reports.phrases` are."""
    text = re.sub(r"[*_`\"]+", " ", sentence.lower().replace("\u2019", "'"))
    text = re.sub(r"\b(?:can't|can not|could not|couldn't|could n't)\b", "cannot", text)
    text = re.sub(r"n't\b", " not", text)
    text = re.sub(r":\s*(?:no|none)\b", " absent", text)  # "Pneumonia: no"
    text = re.sub(r":\s*(?=(?:not|absent|negative|(?:un)?likely|possible|present)\b)", " ", text)
    text = re.sub(r"\bno (?:\w+ ){1,4}?(?:other than|apart from|besides|except(?: for)?)\b", "only", text)
    return " ".join(FILLER.sub(" ", text).split())


def _mentions(clause: str, classes: Sequence[str], bare: bool) -> Iterator[tuple[str, str]]:
    spans = [(*match.span(), name) for name in classes for match in _term(name, bare).finditer(clause)]
    masked = clause
    for start, end, _ in spans:  # so that the "no" of "no acute disease" denies nothing around it
        masked = masked[:start] + "#" * (end - start) + masked[end:]
    for start, end, name in spans:
        around = {_in_front(masked[:start]), _behind(masked[end:])}
        yield name, OPEN if OPEN in around else DENIED if DENIED in around else AFFIRMED


def _term(name: str, bare: bool) -> re.Pattern[str]:
    own = re.escape(name.lower()).replace("_", "[ _]")
    listed = phrases.TERMS.get(name.lower())
    if listed is None or (bare and name.lower() == phrases.HEALTHY):
        listed = f"{listed}|{own}" if listed else own
    return re.compile(rf"\b(?:{listed})\b")


def _in_front(words: str) -> str:
    comma = words.rfind(",")
    effects = {
        BEFORE[match[0]]
        for match in IN_FRONT.finditer(words)
        if match.start() > comma or match[0] in phrases.AFAR
    }
    return OPEN if OPEN in effects else DENIED if DENIED in effects else AFFIRMED


def _behind(words: str) -> str:
    match = BEHIND.search(words)
    return AFTER[match[0]] if match else AFFIRMED
