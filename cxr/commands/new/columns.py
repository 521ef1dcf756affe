"""Which columns of a table are path, label, patient, split and view, by their names and content."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from cxr.core.errors import UserError
from cxr.data.folders import subfolders
from cxr.data.table.layouts import ABSENT, NONE, PRESENT, UNCERTAIN
from cxr.data.table.listing import SPLIT_NAMES
from cxr.data.table.rows import column_names, table_rows

MANY = 1000  # distinct values, above which they are not counted: then they are no labels
SAMPLE = 200  # cells of each column that are looked at as paths
# What a column is usually called, without blanks, signs and capitals; the most usual first.
PATIENT = ("patientid", "patient", "subjectid", "subject", "personid", "pid")
SPLIT = ("split", "set", "subset", "partition", "fold")
VIEW = ("viewposition", "view", "projection", "frontallateral")
LABEL = (
    *(
        "label",
        "labels",
        "findinglabels",
        "findings",
        "finding",
        "diagnosis",
        "class",
        "classname",
        "category",
    ),
    *("target", "disease", "pathology"),
)
NEGATIVE = ("no finding", "no findings", "normal", "healthy", "none", "negative")
FRONTAL = re.compile(r"(pa|ap|frontal)\b.*", re.IGNORECASE)
NUMBERS = {*PRESENT, *ABSENT, *UNCERTAIN}


@dataclass
class Column:
    """first: of the cells that are not empty, the first `SAMPLE`. values: how often each occurs, as long as
    there are no more than `MANY`."""

    name: str
    first: list[str] = field(default_factory=list)
    values: Counter[str] = field(default_factory=Counter)

    @property
    def plain(self) -> str:
        return re.sub(r"[^a-z0-9]", "", self.name.casefold())

    def add(self, cell: str) -> None:
        if cell and len(self.first) < SAMPLE:
            self.first.append(cell)
        if len(self.values) <= MANY:
            self.values[cell] += 1


@dataclass(frozen=True)
class TableDescription:
    """settings: of section `table`, by key below it. notes: how each was recognised."""

    folder: Path
    rows: int
    settings: dict[str, str | list[str]]
    notes: list[str]


def describe_table(file: Path) -> TableDescription:
    """Raises `UserError` if the table cannot be read, or no column names files or labels."""
    columns, rows = _read(file)
    path, folder = _path_column(file, columns)
    others = [column for column in columns if column is not path]
    patient, split, view = _named(others, PATIENT), _split_column(others), _view_column(others)
    settings: dict[str, str | list[str]] = {
        "columns.path": path.name,
        "columns.label": NONE,
        "columns.patient": patient.name if patient else NONE,
        "columns.split": split.name if split else NONE,
        "columns.view": view.name if view else NONE,
    }
    notes = [
        f"{kind.partition('.')[2]:8} {name}" for kind, name in settings.items() if kind != "columns.label"
    ]
    if view:
        frontal = [name for name in view.values if FRONTAL.fullmatch(name)]
        settings["views"] = sorted(frontal)
        unused = ", ".join(sorted(name or "empty" for name in view.values if name not in frontal)[:5])
        notes[-1] += f": {', '.join(settings['views'])} are used" + (f", not {unused}" if unused else "")
    known = [column for column in (patient, split, view) if column]
    found, note = _labels(file, [column for column in others if column not in known])
    return TableDescription(folder, rows, settings | found, [notes[0], note, *notes[1:]])


def _read(file: Path) -> tuple[list[Column], int]:
    names = column_names(file)
    columns = [Column(name) for name in names if name and names.count(name) == 1]
    if not columns:
        raise UserError(f"{file}: its columns have no names, or all the same")
    rows = 0
    cells_of = table_rows(file, [column.name for column in columns])
    for _, cells in tqdm(cells_of, desc="reading the table", unit=" rows", disable=None):
        rows += 1
        for column, cell in zip(columns, cells, strict=True):
            column.add(cell)
    if not rows:
        raise UserError(f"{file}: has no rows")
    return columns, rows


def _path_column(file: Path, columns: Sequence[Column]) -> tuple[Column, Path]:
    """The column whose cells are most often files, and the folder below which they are: that of the table, or
    one in it."""
    folders = [file.parent, *subfolders(file.parent)]
    hits = {
        (number, folder): sum(_is_file(folder, cell) for cell in column.first)
        for number, column in enumerate(columns)
        for folder in folders
    }
    number, folder = max(hits, key=lambda key: hits[key])
    if not hits[number, folder]:
        raise UserError(
            f"{file}: no column names files below {file.parent} or a folder in it, with their suffix; "
            f"its columns are {', '.join(column.name for column in columns[:20])}"
        )
    return columns[number], folder


def _is_file(folder: Path, cell: str) -> bool:
    try:
        return (folder / cell.replace("\\", "/")).is_file()
    except OSError:  # a text too long for a name
        return False


def _named(columns: Sequence[Column], names: Sequence[str]) -> Column | None:
    found = [column for column in columns if column.plain in names]
    return min(found, key=lambda column: names.index(column.plain), default=None)


def _split_column(columns: Sequence[Column]) -> Column | None:
    """With a train and a test at least, and nothing else but val."""
    column = _named(columns, SPLIT)
    if column is None or not all(name.lower() in SPLIT_NAMES for name in column.values):
        return None
    return column if {"train", "test"} <= {SPLIT_NAMES[name.lower()] for name in column.values} else None


def _view_column(columns: Sequence[Column]) -> Column | None:
    """With frontal views, since only they are used."""
    column = _named(columns, VIEW)
    return column if column and any(map(FRONTAL.fullmatch, column.values)) else None


def _labels(file: Path, columns: Sequence[Column]) -> tuple[dict[str, str | list[str]], str]:
    """The settings of the label, and how it was recognised: a column of labels, or one for each finding."""
    column = _named(columns, LABEL)
    if column is None:
        present = Counter({c.name: sum(c.values[one] for one in PRESENT) for c in columns if _is_finding(c)})
        if not present:
            names = ", ".join(column.name for column in columns[:20])
            raise UserError(
                f"{file}: no column is called label, finding, diagnosis or class, and none has 1 and 0 for a "
                f"finding; rename the one with the labels; there are {names}"
            )
        return _asked(file, present, f"a column for each finding: {_counted(present)}")
    if len(column.values) > MANY:
        raise UserError(
            f"{file}: column {column.name!r} has over {MANY:,} values, so they are no labels; rename it"
        )
    labels = Counter[str]()
    for value, count in column.values.items():
        labels.update({name: count for part in value.split("|") if (name := part.strip())})
    settings: dict[str, str | list[str]] = {"columns.label": column.name}
    if any("|" in value for value in column.values):
        asked, note = _asked(file, labels, f"{column.name}, several labels in a cell: {_counted(labels)}")
        return settings | asked, note
    if len(labels) == 2 and _negative(labels):  # then that one is not the finding, whatever the alphabet says
        asked, note = _asked(file, labels, column.name)
        return settings | asked, note
    return settings, f"{'label':8} {column.name}, every label is a class"


def _negative(labels: Counter[str]) -> str | None:
    return next((name for name in labels if name.casefold() in NEGATIVE), None)


def _is_finding(column: Column) -> bool:
    values = {value.lower() for value in column.values}
    return values <= NUMBERS and bool(values & set(PRESENT)) and column.plain not in ("sex", "gender", "male")


def _asked(file: Path, labels: Counter[str], note: str) -> tuple[dict[str, str | list[str]], str]:
    """The finding that is asked for: Pneumonia, or else the most frequent one."""
    negative = _negative(labels)
    findings = [name for name, _ in labels.most_common() if name != negative]
    if not findings:
        raise UserError(f"{file}: its labels are {negative} alone; a classifier needs two classes or more")
    positive = next((name for name in findings if name.casefold() == "pneumonia"), findings[0])
    settings: dict[str, str | list[str]] = {"positive": positive}
    settings |= {"negative": negative} if negative else {"others": "negative"}
    against = f"against {negative}" if negative else "against all others"
    return settings, f"{'label':8} {note}; asked for is {positive} {against} (table.positive, table.negative)"


def _counted(labels: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in labels.most_common(5)) + (
        ", ..." if len(labels) > 5 else ""
    )
