"""Outputs are written whole or not at all, and as the same bytes for the same content."""

import errno
import json
import stat

import numpy as np
import pytest

from cxr.core.errors import UserError, run
from cxr.core.files import (
    atomic,
    read_csv,
    read_json,
    write_csv,
    write_json,
    write_npy,
    write_npy_parts,
    write_npy_rows,
)
from tests.builders import files_below, refused


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, error):
    path = tmp_path / "out.txt"
    path.write_text("old")

    def fail():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert files_below(tmp_path) == ["out.txt"]


def test_atomic_replaces_makes_folders_and_lets_others_read(tmp_path):
    path = tmp_path / "new" / "folder" / "out.json"
    for text in ("first", "second"):
        with atomic(path) as temporary:
            assert temporary.suffix == ".json"  # matplotlib and NumPy read the format from it
            temporary.write_text(text)
    assert path.read_text() == "second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert files_below(tmp_path) == ["new/folder/out.json"]


def test_csv_has_unix_lines_and_seven_digits(tmp_path):
    path = tmp_path / "t.csv"
    write_csv(path, ("a", "b", "c"), [(1, 1 / 3, "x"), (np.int64(2), np.float32(1e-9), "y")])
    assert path.read_bytes() == b"a,b,c\n1,0.3333333,x\n2,1e-09,y\n"


def test_csv_keeps_awkward_text(tmp_path):
    path = tmp_path / "t.csv"
    awkward = 'a, "b"\nand é'
    write_csv(path, ("name", "number"), [(awkward, 1)])
    assert read_csv(path) == [{"name": awkward, "number": "1"}]


def test_csv_keeps_the_precision_of_a_float32(tmp_path):
    path = tmp_path / "t.csv"
    values = np.random.default_rng(0).random(500).astype(np.float32)
    write_csv(path, ("p",), [(v,) for v in values])
    read = np.array([float(row["p"]) for row in read_csv(path)])
    np.testing.assert_allclose(read, values, rtol=5e-7)


def test_json_rounds_and_takes_numpy(tmp_path):
    path = tmp_path / "t.json"
    write_json(
        path, {1: np.float32(0.1), "n": np.int64(3), "a": np.eye(2, dtype=np.int64), "t": (True, None)}
    )
    assert read_json(path) == {"1": 0.1, "n": 3, "a": [[1, 0], [0, 1]], "t": [True, None]}
    assert path.read_bytes().endswith(b"}\n")
    write_json(path, {"third": 1 / 3})
    assert json.loads(path.read_text()) == {"third": 0.333333}


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf")])
def test_nan_and_infinity_in_json_are_an_error(tmp_path, value):
    path = tmp_path / "t.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"deep": [{"x": value}]})
    assert read_json(path) == {"old": 1}
    assert files_below(tmp_path) == ["t.json"]


def test_object_array_in_npy_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        write_npy(tmp_path / "t.npy", np.array([{}], dtype=object))
    assert files_below(tmp_path) == []


def test_equal_content_gives_equal_bytes(tmp_path):
    array = np.arange(12).reshape(3, 4)
    for name in ("a", "b"):
        write_npy(tmp_path / f"{name}.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_users_mistake_is_one_line_and_exit_code_one(capsys):
    def mistake():
        raise UserError("params.yaml: train.lr is -1; allowed: a number above 0")

    with pytest.raises(SystemExit) as caught:
        run(mistake)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: params.yaml: train.lr is -1; allowed: a number above 0\n"


def test_a_bug_is_not_hidden_as_a_users_mistake():
    def bug():
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        run(bug)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), OSError("19600 requested and 512 written")],
    ids=["written by Python", "written by NumPy"],
)
def test_full_disk_is_one_line_and_the_old_file_stays(tmp_path, error):
    path = tmp_path / "model.json"
    path.write_text("old")
    with refused(f"{path}: the disk is full; free some space"), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert files_below(tmp_path) == ["model.json"]


def test_other_errors_of_the_system_are_not_renamed(tmp_path):
    with pytest.raises(PermissionError), atomic(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.parametrize("count", [0, 1, 256, 700])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rows_of_an_array_are_written_as_numpy_would(tmp_path, count, dtype):
    generator = np.random.default_rng(count)
    array = generator.integers(0, 256, (800, 3, 2)).astype(dtype)
    rows = generator.permutation(800)[:count]
    write_npy(tmp_path / "whole.npy", array[rows])
    write_npy_rows(tmp_path / "blocks.npy", array, rows)
    assert (tmp_path / "blocks.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_parts_are_written_as_one_array(tmp_path):
    whole = np.random.default_rng(0).random((11, 3)).astype(np.float32)
    write_npy(tmp_path / "whole.npy", whole)
    for parts in ([whole], [whole[:4], whole[4:8], whole[8:]], [whole[:0], whole]):
        write_npy_parts(tmp_path / "parts.npy", parts)
        assert (tmp_path / "parts.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
