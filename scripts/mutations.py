"""The list of deliberate errors in tests/mutations/, and the tables of what the tests noticed."""

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pydantic.json_schema import SkipJsonSchema
from ruamel.yaml import YAML

from cxr.core.checked import Section, check_section
from cxr.core.errors import UserError
from cxr.core.files import atomic, read_csv, write_csv

LISTS = Path("tests/mutations")  # <room>.yaml
TABLES = Path("docs/mutations")  # <room>.csv
PAGE = Path("docs/mutations.md")
NOTICED = ("noticed", "timed out")


class Mutation(Section):
    """One line of code made wrong.

    before: text that stands exactly once in `file`, a whole line or part of one. after: what replaces it.
    falsifies: what would be published or done wrongly. tests: the test files that should notice, separated by
    spaces. survives: why no test notices. noticed_before: given where issue 16 names the error: whether the
    tests of then noticed it.
    """

    file: str
    before: str
    after: str
    falsifies: str
    tests: str
    survives: str = ""
    noticed_before: bool | SkipJsonSchema[None] = None

    @property
    def id(self) -> str:
        """Changes with the error and its tests, so that an old outcome is not taken for one of them."""
        text = "\0".join((self.file, self.before, self.after, self.tests))
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def applied(self, text: str) -> str:
        """Raises `UserError` if `before` is not there exactly once."""
        if text.count(self.before) != 1:
            raise UserError(
                f"{self.file} has {self.before!r} {text.count(self.before)} times; a mutation needs text "
                "that it has once"
            )
        return text.replace(self.before, self.after)


@dataclass(frozen=True)
class Outcome:
    """outcome: noticed (by a failed test), timed out, unnoticed, or invalid (the code does not run at all).
    by: the test that failed first. seconds: of all tests up to that one."""

    id: str
    file: str
    falsifies: str
    tests: str
    outcome: str
    by: str
    seconds: float


COLUMNS = [field.name for field in fields(Outcome)]


def rooms() -> list[str]:
    return sorted(path.stem for path in LISTS.glob("*.yaml"))


def load_mutations(room: str) -> list[Mutation]:
    """Raises `UserError` for an unknown or missing key or a value of the wrong kind."""
    path = LISTS / f"{room}.yaml"
    tree = YAML(typ="safe").load(path)
    return [check_section(Mutation, entry, path, str(number)) for number, entry in enumerate(tree, start=1)]


def load_outcomes(room: str) -> dict[str, Outcome]:
    """By `Mutation.id`; of mutations that are no longer in the list, too."""
    path = TABLES / f"{room}.csv"
    rows = read_csv(path) if path.is_file() else []
    return {row["id"]: Outcome(seconds=float(row.pop("seconds")), **row) for row in rows}


def save_outcomes(room: str, outcomes: dict[str, Outcome]) -> None:
    """In the order of the list; outcomes of other mutations are dropped."""
    listed = [outcomes[found.id] for found in load_mutations(room) if found.id in outcomes]
    write_csv(TABLES / f"{room}.csv", COLUMNS, [tuple(asdict(row).values()) for row in listed])


def save_page() -> None:
    with atomic(PAGE) as temporary:
        temporary.write_text(page(), encoding="utf-8", newline="\n")


def page() -> str:
    """Markdown: how many errors the tests of each room notice, which they do not and why, and the errors that
    issue 16 names, before and after."""
    lists = {room: load_mutations(room) for room in rooms()}
    found = {room: load_outcomes(room) for room in lists}
    counts = [(room, *_counts(lists[room], found[room])) for room in lists]
    total = ("all", *(sum(column) for column in list(zip(*counts, strict=True))[1:]))
    lines = [HEAD, "| room | errors | noticed | | seconds |", "|---|---|---|---|---|"]
    for room, errors, noticed, seconds in [*counts, total]:
        lines.append(f"| {room} | {errors} | {noticed} | {noticed / errors:.0%} | {seconds:.0f} |")
    lines += ["", "## Unnoticed", ""]
    for room, mutations in lists.items():
        for mutation in mutations:
            if mutation.id in found[room] and found[room][mutation.id].outcome not in NOTICED:
                reason = mutation.survives or "no reason given"
                lines.append(f"- `{mutation.file}`: {mutation.falsifies}. {reason}")
    lines += [
        "",
        "## Errors that the review named",
        "",
        "| error | file | before | now |",
        "|---|---|---|---|",
    ]
    for room, mutations in lists.items():
        for mutation in mutations:
            if mutation.noticed_before is not None:
                before = "noticed" if mutation.noticed_before else "unnoticed"
                row = found[room].get(mutation.id)
                now = row.outcome if row else "not run"
                lines.append(f"| {mutation.falsifies} | `{mutation.file}` | {before} | {now} |")
    return "\n".join([*lines, ""])


HEAD = """\
# Deliberate errors

Written by `make mutate`. [tests/mutations/](../tests/mutations) lists errors of meaning, each in one place of
the code, such that the program still runs and a figure, a decision or a picture is wrong.
`python -m scripts.mutate` puts them into a copy of the code, one at a time, and runs the tests of that code:
the proportion that turns a test red says what the tests are worth. The results, with the test that failed
first, are in [docs/mutations/](mutations).

Not mutmut or cosmic-ray: their operators (`+` to `-`, a constant plus one) do not make the errors meant here
(the other split, the wrong row of a table, a setting that is dropped), and they make too many others:
cosmic-ray 8.7 finds 2,189 places in cxr/training alone, for each of which it starts a process with PyTorch.

To add an error: an entry in the list of its room, then `python -m scripts.mutate --missing`.
"""


def _counts(mutations: list[Mutation], outcomes: dict[str, Outcome]) -> tuple[int, int, float]:
    """Errors, noticed errors, seconds."""
    done = [outcomes[mutation.id] for mutation in mutations if mutation.id in outcomes]
    kinds = Counter(outcome.outcome for outcome in done)
    return len(mutations), sum(kinds[kind] for kind in NOTICED), sum(outcome.seconds for outcome in done)
