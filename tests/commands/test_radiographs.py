"""Which radiographs are named by files and folders, how bad ones are reported, and what is kept in memory."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.commands.radiographs import AHEAD, NamedFiles
from cxr.data.radiograph import read_original, read_radiograph
from tests.builders import noise_images, refused


def save_image(path: Path, seed: int = 0, side: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise_images(1, side, seed)[0]).save(path)
    return path


def test_files_and_folders_keep_their_order(tmp_path, capsys):
    names = ["images/a/z.png", "images/b.jpg", "images/deep/er/c.png"]
    paths = [save_image(tmp_path / name, seed) for seed, name in enumerate(names)]
    first = save_image(tmp_path / "other.png", 9)
    files = NamedFiles([first, tmp_path / "images"])
    assert files.paths == [first, *paths]
    read = list(files.read(28, "plain"))
    assert [(image.number, image.path) for image in read] == list(enumerate(files.paths))
    for image in read:
        np.testing.assert_array_equal(image.image, read_radiograph(image.path, 28))
        assert image.square is None
    assert (files.errors, capsys.readouterr()) == ([], ("", ""))
    files.end()


def test_bad_files_are_one_line_each_and_end_the_process_late(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    good = [save_image(tmp_path / "good/1.png"), save_image(tmp_path / "good/3.png")]
    (tmp_path / "good/2.png").write_text("no radiograph")
    files = NamedFiles([tmp_path / "none.png", tmp_path / "good", tmp_path / "empty"])
    assert [(image.number, image.path) for image in files.read(28, "plain")] == [(1, good[0]), (3, good[1])]
    assert {Path(error["path"]).name: error["message"] for error in files.errors} == {
        "none.png": "no such file",
        "2.png": "not a PNG, JPEG, DICOM, WebP, BMP or TIFF file",
        "empty": "no PNG, JPEG, DICOM, WebP, BMP or TIFF radiograph in this folder",
    }
    printed = capsys.readouterr().err.splitlines()
    assert printed == [f"error: {error['path']}: {error['message']}" for error in files.errors]
    with pytest.raises(SystemExit) as stop:
        files.end()
    assert stop.value.code == 1


def test_nothing_readable_yields_nothing(tmp_path):
    files = NamedFiles([tmp_path])
    assert list(files.read(28, "plain")) == []
    assert len(files.errors) == 1


@pytest.mark.parametrize("squares", [0, 1, 3, 50])
def test_squares_come_with_the_first_readable_ones(tmp_path, squares):
    (tmp_path / "0.png").write_text("no radiograph")
    for number in range(1, 2 * AHEAD):
        save_image(tmp_path / f"{number:02}.png", number)
    read = list(NamedFiles([tmp_path]).read(16, "plain", squares))
    assert [image.square is not None for image in read] == [n < squares for n in range(2 * AHEAD - 1)]
    for image in read[:squares]:
        np.testing.assert_array_equal(image.square, read_original(image.path).full())


def test_files_are_decoded_once_and_few_of_them_ahead(tmp_path, decoded):
    for number in range(4 * AHEAD):
        save_image(tmp_path / f"{number:02}.png", number)
    files = NamedFiles([tmp_path])
    for number, _ in enumerate(files.read(16, "plain", squares=1000)):
        assert len(decoded) <= number + AHEAD  # so many squares at most are in memory, however many files
    assert sorted(decoded) == sorted(str(path) for path in files.paths)


def test_figures_are_png_and_never_overwrite_a_radiograph(tmp_path):
    files = NamedFiles([save_image(tmp_path / "image.png")])
    files.check_figure(tmp_path / "other.PNG", "--picture")
    with refused("--picture ", "image.png: would overwrite a radiograph"):
        files.check_figure(tmp_path / "x" / ".." / "image.png", "--picture")
    (tmp_path / "folder.png").mkdir()
    for target in ("figure.jpg", "figure", "folder.png"):
        with refused(f"--picture {tmp_path / target}: not the name of a .png file"):
            files.check_figure(tmp_path / target, "--picture")
