"""A conversion goes through all files in blocks, leaves out what cannot be read, and goes on after a kill."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from cxr.core.files import write_npy
from cxr.data import conversion
from cxr.data.conversion import RESUME, convert_files
from cxr.data.radiograph import read_radiograph
from tests.builders import files_below, refused, write_tree

COUNT = 23
NAMES = [f"{number:02}.png" for number in range(COUNT)]
TARGET = Path("out/images.npy")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """`COUNT` pictures; the working directory is beside them, and a block has five images."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(conversion, "BLOCK", 5)
    return write_tree(tmp_path / "images", *NAMES)


def expected(folder: Path, names: list[str]) -> np.ndarray:
    return np.stack([read_radiograph(folder / name, 16) for name in names])


@pytest.mark.parametrize("count", [1, 5, 6, COUNT])
def test_the_file_is_the_one_that_numpy_would_write(folder, count):
    assert convert_files(folder, NAMES[:count], 16, 0, TARGET) == {}
    write_npy("expected.npy", expected(folder, NAMES[:count]))
    assert TARGET.read_bytes() == Path("expected.npy").read_bytes()
    assert files_below(Path()) == ["expected.npy", "out/images.npy"]


def test_broken_files_are_named_with_the_reason_and_left_out(folder, capsys):
    (folder / "03.png").write_bytes(b"no image")
    (folder / "04.png").unlink()
    (folder / "21.png").write_bytes((folder / "21.png").read_bytes()[:100])
    broken = convert_files(folder, NAMES, 16, 0.14, TARGET)
    assert list(broken) == ["03.png", "04.png", "21.png"]
    assert broken["03.png"].startswith("not a PNG, JPEG, DICOM")
    assert broken["04.png"] == "no such file"
    assert broken["21.png"].startswith("damaged or unreadable image (")
    assert str(folder) not in "".join(broken.values())
    kept = [name for name in NAMES if name not in broken]
    np.testing.assert_array_equal(np.load(TARGET), expected(folder, kept))
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("left out: 04.png: no such file")]


def test_too_many_broken_files_stop_it(folder):
    for name in NAMES[7:10]:
        (folder / name).write_bytes(b"no image")
    write_npy(TARGET, np.zeros(3))
    before = TARGET.read_bytes()
    message = "images: 3 of the first 10 images cannot be read, of 23 more than table.max_broken (0.1) allows"
    with refused(message, "; the first: 07.png: not a PNG"):
        convert_files(folder, NAMES, 16, 0.1, TARGET)
    assert TARGET.read_bytes() == before
    assert len(convert_files(folder, NAMES, 16, 0.2, TARGET)) == 3


def convert_in(folder: Path, names: list[str], block: int) -> None:
    conversion.BLOCK = block
    convert_files(folder, names, 16, 0.5, TARGET)


def killed(folder: Path, names: list[str], block: int = 5) -> int:
    """How many files are done when a conversion is killed as soon as its state says two blocks."""
    process = multiprocessing.get_context("fork").Process(target=convert_in, args=(folder, names, block))
    process.start()
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        for progress in RESUME.glob("*/progress.json"):
            if (done := conversion.read_json(progress)["files"]) >= 2 * block:
                os.kill(process.pid or 0, signal.SIGKILL)
                process.join()
                return done
        time.sleep(0.0005)
    raise AssertionError("the conversion got nowhere")


@pytest.fixture
def many(folder) -> list[str]:
    """Names of enough files that a kill comes before the last; one is broken."""
    names = []
    for number in range(600):
        names.append(f"x{number:03}.png")
        (folder / names[-1]).hardlink_to(folder / NAMES[number % COUNT])
    (folder / names[3]).unlink()
    (folder / names[3]).write_bytes(b"no image")
    return names


def test_a_killed_conversion_goes_on_to_the_same_bytes(folder, many, capsys):
    done = killed(folder, many)
    assert 10 <= done < 600
    assert not TARGET.exists()
    state = next(RESUME.iterdir())
    with (state / "images.npy").open("ab") as file:  # half of a block
        file.write(b"\xff" * 700)
    opened = []
    read = conversion.read_in_order
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            conversion, "read_in_order", lambda paths, size: opened.extend(paths) or read(paths, size)
        )
        broken = convert_files(folder, many, 16, 0.5, TARGET)
    assert opened == [folder / name for name in many[done:]]
    assert f"going on after {done} of 600 files" in capsys.readouterr().err
    assert list(broken) == [many[3]]
    resumed = TARGET.read_bytes()
    assert files_below(Path()) == ["out/images.npy"]
    assert convert_files(folder, many, 16, 0.5, TARGET) == broken
    assert TARGET.read_bytes() == resumed


@pytest.mark.parametrize("change", ["file", "names", "size"])
def test_another_conversion_starts_anew(folder, many, change, capsys):
    killed(folder, many)
    size = 16
    if change == "file":
        write_tree(folder / "other", "a.png", "b.png")
        (folder / "other/b.png").replace(folder / many[0])
    elif change == "names":
        many = many[1:]
    else:
        size = 20
    convert_files(folder, many, size, 0.5, TARGET)
    assert "going on" not in capsys.readouterr().err
    kept = [name for name in many if name != "x003.png"]
    np.testing.assert_array_equal(
        np.load(TARGET), np.stack([read_radiograph(folder / name, size) for name in kept])
    )
    assert files_below(Path()) == ["out/images.npy"]
