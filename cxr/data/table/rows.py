"""The rows of a CSV or Parquet file, one after the other, so that its size does not matter.

CSV: UTF-8 (with or without a byte order mark), separated by commas, with a header (RFC 4180); .gz is read as
well. Parquet needs the package pyarrow.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from cxr.core.errors import UserError

PARQUET = (".parquet", ".pq")


def place(file: Path, number: int) -> str:
    """Where a row stands, for messages."""
    return f"{file}: {'row' if file.suffix.lower() in PARQUET else 'line'} {number}"


def column_names(file: Path) -> list[str]:
    """The names of the columns of `file`. Raises `UserError` if it is missing, empty or not readable."""
    if not file.is_file():
        raise UserError(f"{file}: {'a folder, not a table' if file.is_dir() else 'no such file'}")
    if file.suffix.lower() in PARQUET:
        return list(_open_parquet(file).schema_arrow.names)
    for _, cells in _csv_rows(file):
        return [name.strip() for name in cells]
    raise UserError(f"{file}: is empty; it needs a header and rows")


def table_rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """For each row its number (of the line in a CSV, which a message can name with `place`) and the text of
    its cells in `columns`, without blanks around it; "" for null.

    Raises `UserError` for a column that is missing or there twice, a row with another number of cells than
    the header, bytes that are not UTF-8, and a damaged file.
    """
    names = column_names(file)
    for column in columns:
        if column not in names:
            raise missing_column(file, column, names)
        if names.count(column) > 1:
            raise UserError(f"{file}: has two columns {column!r}; rename one")
    if file.suffix.lower() in PARQUET:
        yield from _parquet_rows(file, columns)
        return
    wanted = [names.index(column) for column in columns]
    rows = _csv_rows(file)
    next(rows)
    for number, cells in rows:
        if len(cells) <= max(wanted) or any(cells[len(names) :]):
            cause = "a comma in a text needs quotes around the text"
            raise UserError(f"{place(file, number)}: {len(cells)} cells under {len(names)} columns; {cause}")
        yield number, [cells[column].strip() for column in wanted]


def missing_column(file: Path, column: str, names: Sequence[str], setting: str = "") -> UserError:
    """names: of the columns that are there. setting: where `column` is named, in brackets."""
    have = ", ".join(names[:30]) + (" ..." if len(names) > 30 else "")
    if len(names) == 1 and (mark := next((mark for mark in ";\t|" if mark in names[0]), "")):
        kind = "tabs" if mark == "\t" else repr(mark)
        return UserError(f"{file}: its columns are separated by {kind}; save it with commas")
    return UserError(f"{file}: has no column {column!r}{setting}; it has {have}")


def _csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The header and each row that is not blank, with the number of its line."""
    try:
        with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as stream:
            reader = csv.reader(_lines(file, cast(BinaryIO, stream)), strict=True)
            while (cells := next(reader, None)) is not None:
                if cells:
                    yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"{place(file, reader.line_num)}: not a row of a CSV table ({error})") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None


def _lines(file: Path, stream: BinaryIO) -> Iterator[str]:
    """Decoded one at a time, so that an error can name its line."""
    for number, line in enumerate(stream, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            remedy = "save it as UTF-8, such as by `iconv -f latin1 -t utf-8`"
            found = f"the byte 0x{line[error.start]:02x}"
            raise UserError(f"{place(file, number)}: {found} is not UTF-8 text; {remedy}") from None


def _open_parquet(file: Path) -> Any:
    try:
        import pyarrow.parquet  # 40 MB that only a Parquet table needs
    except ImportError:
        raise UserError(
            f"{file}: reading Parquet needs the package pyarrow; install it by `uv sync --extra parquet`, "
            "or save the table as CSV"
        ) from None
    try:
        return pyarrow.parquet.ParquetFile(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{file}: not a readable Parquet file ({' '.join(str(error).split())})") from None


def _parquet_rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    number = 0
    with _open_parquet(file) as parquet:
        for batch in parquet.iter_batches(batch_size=10_000, columns=list(columns)):
            for cells in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                number += 1
                yield number, ["" if cell is None else str(cell).strip() for cell in cells]
