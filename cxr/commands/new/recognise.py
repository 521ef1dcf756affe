"""What a folder or a table is, and the parameters that describe it.

In this order: the folder of a published data set, known by its tables; train, val and test folders; a table
with a row for each image; class folders.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr.commands.new.columns import describe_table
from cxr.core.errors import UserError
from cxr.data.folders import split_folders, subfolders
from cxr.data.own_folder import PATIENTS
from cxr.data.table.listing import PLACEHOLDER
from cxr.data.table.rows import PARQUET, column_names

TABLES = (".csv", ".csv.gz", *PARQUET)
# Of each published layout the name of the data set, and the tables by one of which its folder is known.
PUBLISHED = {
    "nih": ("ChestX-ray14", ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")),
    "chexpert": ("CheXpert", ("train.csv",)),
    "vindr": ("VinDr-CXR", ("annotations/image_labels_train.csv", "image_labels_train.csv")),
    "mimic": ("MIMIC-CXR-JPG", ("mimic-cxr-2.0.0-metadata.csv.gz", "mimic-cxr-2.0.0-metadata.csv")),
}
# Other tables may have the name of CheXpert's, too.
CHEXPERT = {"Path", "Frontal/Lateral", "No Finding"}
# As params.yaml has it where nothing is known about a table.
PLAIN_TABLE = {
    "table.layout": "own",
    "table.file": str(PLACEHOLDER),
    "table.labels": "any",
    "table.positive": "none",
    "table.negative": "No Finding",
    "table.others": "leave_out",
    "table.uncertain": "ignore",
    "table.views": ["PA", "AP", "Frontal"],
}


@dataclass(frozen=True)
class Proposal:
    """title: what was recognised. notes: by what, a line each. values: of params.yaml, by dotted key."""

    title: str
    notes: list[str]
    values: dict[str, Any]


def recognise(data: Path) -> Proposal:
    """data: a folder or a table. Raises `UserError` if it is neither, or if it is not recognised."""
    data = data.resolve()
    if not data.exists():
        raise UserError(f"{data}: no such file or folder")
    if not data.is_dir() and not _is_table(data):
        raise UserError(
            f"{data}: neither a folder nor a table ({', '.join(TABLES)}); unpack an archive first"
        )
    if published := _published(data):
        return published
    if not data.is_dir():
        return _own_table(data)
    tables = sorted(path for path in data.iterdir() if _is_table(path) and path.name != PATIENTS)
    if split_folders(data) or not tables:
        return _own_folder(data, tables)
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables[:5])
        raise UserError(f"{data}: has {len(tables)} tables, {names}; name the one with a row for each image")
    return _own_table(tables[0])


def _is_table(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(TABLES)


def _published(data: Path) -> Proposal | None:
    """Of the folder of a published data set, or one of its tables."""
    for layout, (name, tables) in PUBLISHED.items():
        for table in map(Path, tables):
            depth = len(table.parts)
            root = data if data.is_dir() else data.parents[depth - 1]
            if (data != root and data.parts[-depth:] != table.parts) or not (root / table).is_file():
                continue
            if layout == "chexpert" and not set(column_names(root / table)) >= CHEXPERT:
                continue
            values: dict[str, Any] = {"download.source": "table", "download.folder": str(root)} | PLAIN_TABLE
            values |= {"table.layout": layout, "table.positive": "Pneumonia"}
            values |= {"split.method": "published", "split.by_patient": False}
            notes = [
                f"known by {table}; asked for is Pneumonia: change table.positive for another finding",
                "frontal views, uncertain labels left out, and the published splits (docs/own_data.md)",
            ]
            return Proposal(f"{root}: {name}", notes, values)
    return None


def _own_folder(root: Path, tables: list[Path]) -> Proposal:
    """Raises `UserError` if there are no folders in it."""
    splits = bool(split_folders(root))
    if not subfolders(root):
        raise UserError(f"{root}: has neither class folders nor a table (docs/own_data.md describes both)")
    notes = ["the classes are the names of the folders" + (" in train, val and test" if splits else "")]
    if tables:
        notes.append(f"{tables[0].name} in it was not read; name it to use it instead of the folders")
    patients = (root / PATIENTS).is_file()
    notes.append(f"patients by {PATIENTS}" if patients else f"no {PATIENTS} (data/folder/README.md)")
    values = {"download.source": "folder", "download.folder": str(root)}
    values |= _split(published=splits, patients=patients)
    return Proposal(f"{root}: class folders", notes, values)


def _own_table(file: Path) -> Proposal:
    table = describe_table(file)
    values = {"download.source": "table", "download.folder": str(table.folder)} | PLAIN_TABLE
    values |= {"table.file": str(file)} | {f"table.{key}": value for key, value in table.settings.items()}
    values |= _split(
        published=table.settings["columns.split"] != "none",
        patients=table.settings["columns.patient"] != "none",
    )
    return Proposal(f"{file}: a table of {table.rows:,} images below {table.folder}", table.notes, values)


def _split(published: bool, patients: bool) -> dict[str, Any]:
    return {
        "split.method": "published" if published else "stratified",
        "split.by_patient": patients and not published,
    }
