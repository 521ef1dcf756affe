"""The ledger of test: every reading of test metrics by this project, and what was decided after it.

A test set that is read again and again, and steers decisions, ends as a validation set (Dwork et al., 2015,
https://doi.org/10.1126/science.aaa9375). The ledger says how far that has gone. It holds for one test set
alone, that of the data source `test_set`.
"""

import datetime
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cxr.core.checked import Section, check_section
from cxr.core.errors import UserError

PATH = Path("docs/test_ledger.yaml")

# `SkipJsonSchema`: errors say what is allowed by the JSON schema, and a key without a value is left out.
Figure = Annotated[float, Field(ge=0, le=1)] | SkipJsonSchema[None]
Day = Annotated[datetime.date, Field(json_schema_extra={"patternErrorMessage": "a date such as 2026-11-20"})]
Hash = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{7}$",
        json_schema_extra={"patternErrorMessage": "the first 7 digits of a commit in quotation marks"},
    ),
]


class Reading(Section):
    """One row. date: of the reading, or, of an outside one, when the project knew of it. commit: which
    committed the figures; None: the one that added the row. kind: default (what metrics/test.json held),
    candidate (for the default), or what else was evaluated. auc, accuracy (at one half) and
    accuracy_at_threshold (the released one): means over single members; None if not known. note: further
    figures. decision: what followed, or "none" for a description. source: where the figures stand."""

    date: Day
    commit: Hash | SkipJsonSchema[None] = None
    kind: Literal[
        "default",
        "candidate",
        "recipe",
        "ablation",
        "benchmark",
        "retrieval",
        "corrupted copies",
        "acceptance check",
        "outside reading",
    ]
    run: str
    auc: Figure = None
    accuracy: Figure = None
    accuracy_at_threshold: Figure = None
    note: str = ""
    decision: str
    source: str

    @property
    def decided(self) -> bool:
        return self.decision != "none"


@dataclass(frozen=True)
class Ledger:
    """test_set: the `download.source` whose test split was read. readings: oldest first, one or more."""

    test_set: str
    readings: tuple[Reading, ...]

    @property
    def decisions(self) -> int:
        """The number of readings that a decision followed."""
        return sum(reading.decided for reading in self.readings)


class _File(Section):
    test_set: str
    readings: Any


def load_ledger(path: Path = PATH) -> Ledger:
    """Raises `UserError` if there is no such file or for its first mistake, see `parse_ledger`."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; `git checkout {path}` brings it back")
    return parse_ledger(path.read_text(encoding="utf-8"))


def parse_ledger(text: str) -> Ledger:
    """Raises `UserError`, with the row's number, for an unknown or missing key, a value that is not allowed,
    or a row older than the one above it."""
    try:
        tree = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise UserError(f"{PATH}: not YAML ({' '.join(str(error).split())})") from None
    file = check_section(_File, tree, PATH)
    if not isinstance(file.readings, list) or not file.readings:
        raise UserError(f"{PATH}: readings must be a list of one row or more")
    rows = tuple(
        check_section(Reading, row, PATH, "readings", str(number))
        for number, row in enumerate(file.readings, start=1)
    )
    for number, (above, row) in enumerate(pairwise(rows), start=2):
        if row.date < above.date:
            raise UserError(
                f"{PATH}: readings.{number}.date is {row.date}, before {above.date} in the row above; "
                "add new rows at the end"
            )
    return Ledger(file.test_set, rows)
