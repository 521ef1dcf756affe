"""One walk for data sets and commands: DICOM files without a suffix are found, hidden files are not."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.commands.radiographs import NamedFiles
from cxr.data.folders import find_radiographs, labelled_radiographs
from cxr.data.own_folder import read_folder
from tests.builders import dicom, dicom_bytes, noise_images, refused

FOUND = ["IM0001", "b.png", "deep/er/c.JPEG", "deep/image", "z.DCM"]
SKIPPED = [
    ".hidden.png",
    ".hidden",
    "._b.png",
    ".git/d.png",
    "deep/.cache/IM0002",
    "__MACOSX/b.png",
    "__MACOSX/IM0001",
    "deep/__MACOSX/e.png",
    "DICOMDIR",
    "deep/DICOMDIR",
    "notes.txt",
    "short",
]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A class folder `sick` with all files of `FOUND` and `SKIPPED`, beside a folder `normal`."""
    image = noise_images(1, 30)[0]
    for name in [*(f"sick/{name}" for name in FOUND + SKIPPED), "normal/a.png", ".hidden/a.png"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpeg"):
            Image.fromarray(image).save(path)
        elif path.name in ("notes.txt", "short"):
            path.write_text("no radiograph" if path.suffix else "")
        else:
            path.write_bytes(dicom_bytes(dicom(image)))
    (tmp_path / "sick/folder.png").mkdir()
    return tmp_path


def test_radiographs_are_found_in_the_order_of_their_paths(folder):
    assert find_radiographs(folder / "sick") == [folder / "sick" / name for name in FOUND]
    assert [(file.split, file.category) for file in labelled_radiographs(folder, "val")] == [
        ("val", "normal"),
        *[("val", "sick")] * len(FOUND),
    ]


def test_download_and_command_line_find_the_same_files(folder, capsys):
    downloaded = read_folder(folder, 28)
    assert downloaded.sources == ["normal/a.png", *(f"sick/{name}" for name in FOUND)]
    files = NamedFiles([folder])
    assert [path.relative_to(folder).as_posix() for path in files.paths] == downloaded.sources
    read = [radiograph.image for radiograph in files.read(28, "plain")]
    np.testing.assert_array_equal(read, downloaded.images)
    assert (files.errors, capsys.readouterr().err) == ([], "")


def test_hidden_is_what_is_hidden_inside_the_folder(tmp_path):
    path = tmp_path / ".cache/__MACOSX/a.png"
    path.parent.mkdir(parents=True)
    path.touch()
    assert find_radiographs(path.parent) == [path]


def links_to_a_class(folder: Path) -> Path:
    (folder / "sick").rename(folder / ".elsewhere")
    (folder / "sick").symlink_to(folder / ".elsewhere")
    return folder / "sick"


def links_to_a_folder_in_a_class(folder: Path) -> Path:
    (folder / "sick/more").symlink_to(folder / "sick/deep")
    return folder / "sick/more"


def waits_for_a_writer(folder: Path) -> Path:
    os.mkfifo(folder / "sick/a.png")
    return folder / "sick/a.png"


def links_to_nothing(folder: Path) -> Path:
    (folder / "sick/a.png").symlink_to(folder / "gone.png")
    return folder / "sick/a.png"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (links_to_a_class, "a link to a folder, which is not followed"),
        (links_to_a_folder_in_a_class, "a link to a folder, which is not followed"),
        (waits_for_a_writer, "a FIFO, a device or a broken link, not a file"),
        (links_to_nothing, "a FIFO, a device or a broken link, not a file"),
    ],
)
def test_what_would_be_missed_or_waited_for_is_an_error(folder, change, message):
    path = change(folder)
    for read in (lambda: read_folder(folder, 28), lambda: NamedFiles([folder])):
        with refused(f"{path}: {message}"):
            read()


def test_links_to_files_are_followed(folder):
    (folder / "sick/b.png").rename(folder / ".kept")
    (folder / "sick/b.png").symlink_to(folder / ".kept")
    assert find_radiographs(folder / "sick") == [folder / "sick" / name for name in FOUND]


def test_hidden_links_and_fifos_are_skipped(folder):
    (folder / ".link").symlink_to(folder / "sick")
    os.mkfifo(folder / "sick/.a.png")
    assert len(find_radiographs(folder)) == len(FOUND) + 1
