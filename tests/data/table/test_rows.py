"""A table is read row by row, and what is wrong with it is one line that names the place."""

import csv
import gzip
import sys
import tracemalloc
from pathlib import Path

import pytest

from cxr.data.table.rows import column_names, place, table_rows
from tests.builders import refused

TEXT = 'path,label,age\n a.png ,"one, two",7\n\n"b\nc.png",three,\n'
ROWS = [(2, ["one, two", "a.png"]), (5, ["three", "b\nc.png"])]


def written(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", TEXT.encode()),
        ("t.csv", b"\xef\xbb\xbf" + TEXT.encode()),
        ("t.CSV", TEXT.replace("\n", "\r\n").replace("b\r\n", "b\n").encode()),
        ("t.csv.gz", gzip.compress(TEXT.encode())),
    ],
    ids=["plain", "byte order mark", "Windows line ends", "compressed"],
)
def test_rows_have_the_cells_of_the_columns_and_their_line(tmp_path, name, content):
    file = written(tmp_path / name, content)
    assert column_names(file) == ["path", "label", "age"]
    assert list(table_rows(file, ["label", "path"])) == ROWS
    assert place(file, 5) == f"{file}: line 5"


def test_empty_cells_after_the_last_column_are_ignored(tmp_path):
    """Each line of Data_Entry_2017.csv ends with a comma."""
    file = written(tmp_path / "t.csv", "a,b\n1,2,\n")
    assert list(table_rows(file, ["b"])) == [(2, ["2"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": is empty; it needs a header and rows"),
        ("path,labels\n", ": has no column 'label'; it has path, labels"),
        ("path;label\n", ": its columns are separated by ';'; save it with commas"),
        ("path\tlabel\n", ": its columns are separated by tabs; save it with commas"),
        ("path,label,label\n", ": has two columns 'label'; rename one"),
        ("path,label\na,b\nc\n", ": line 3: 1 cells under 2 columns"),
        ("path,label\na,b,c\n", ": line 2: 3 cells under 2 columns; a comma in a text needs quotes"),
        (
            "path,label\na,Übersicht\n".encode("latin-1"),
            ": line 2: the byte 0xdc is not UTF-8 text; save it as",
        ),
        ("path,label\n".encode("utf-16"), ": line 1: the byte 0xff is not UTF-8 text"),
        ('path,label\na,"b\n', ": line 2: not a row of a CSV table"),
        ("path,label\n" + "a" * (csv.field_size_limit() + 1), ": line 2: not a row of a CSV table"),
    ],
    ids=[
        *("empty", "column", "semicolons", "tabs", "twice", "short", "long", "Latin-1", "UTF-16"),
        *("open quote", "huge cell"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, content, message):
    file = written(tmp_path / "t.csv", content)
    with refused(f"{file}{message}"):
        list(table_rows(file, ["path", "label"]))


def test_missing_and_damaged_files_are_refused(tmp_path):
    with refused(f"{tmp_path}/t.csv: no such file"):
        column_names(tmp_path / "t.csv")
    with refused(f"{tmp_path}: a folder, not a table"):
        column_names(tmp_path)
    for content in (gzip.compress(TEXT.encode() * 1000)[:-20], b"no gzip"):
        with refused("t.csv.gz: cannot be read ("):
            list(table_rows(written(tmp_path / "t.csv.gz", content), ["path"]))


def test_a_big_table_is_not_held_in_memory(tmp_path):
    file = tmp_path / "t.csv"
    with file.open("w") as stream:
        stream.write("path,label,rest\n")
        stream.writelines(f"{row}.png,normal,{'x' * 400}\n" for row in range(20_000))
    tracemalloc.start()
    count = sum(1 for _ in table_rows(file, ["path", "label"]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 1_000_000 < file.stat().st_size / 8


def test_parquet_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with refused(
        "t.parquet: reading Parquet needs the package pyarrow; install it by `uv sync --extra parquet`"
    ):
        column_names(written(tmp_path / "t.parquet", b""))


def test_parquet_gives_the_same_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "t.parquet"
    columns = {"path": ["a.png", None], "age": [7, None], "present": [1.0, -1.0]}
    parquet.write_table(pyarrow.table(columns), file)
    assert list(table_rows(file, ["present", "path", "age"])) == [
        (1, ["1.0", "a.png", "7"]),
        (2, ["-1.0", "", ""]),
    ]
    assert place(file, 2) == f"{file}: row 2"
    with refused(f"{file}: has no column 'label'; it has path, age, present"):
        list(table_rows(file, ["label"]))
    with refused("t.parquet: not a readable Parquet file ("):
        column_names(written(file, b"no Parquet"))
