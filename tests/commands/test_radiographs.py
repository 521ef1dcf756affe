"""Which radiographs a person means by files and folders, and how bad ones are reported."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.commands import radiographs
from cxr.commands.radiographs import read_named
from cxr.data.radiograph import read_radiograph
from tests.builders import dicom, dicom_bytes, noise_images, refused


def save_image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = noise_images(1, 30, seed)[0]
    if path.suffix in (".png", ".jpg"):
        Image.fromarray(image).save(path)
    else:
        path.write_bytes(dicom_bytes(dicom(image)))
    return path


def test_folders_give_their_images_in_order_and_nothing_else(tmp_path, capsys):
    named = ["b.png", "a/z.dcm", "a/IM0001", "a/deep/c.jpg"]
    for seed, name in enumerate([*named, ".hidden.png", ".git/d.png", "__MACOSX/e.png", "DICOMDIR"]):
        save_image(tmp_path / name, seed)
    (tmp_path / "notes.txt").write_text("no radiograph")
    (tmp_path / "short").write_text("")
    first = save_image(tmp_path.parent / "first.png", 9)
    images = read_named([first, tmp_path], 28)
    assert images.paths == [first, *(tmp_path / name for name in sorted(named))]
    np.testing.assert_array_equal(images.images, [read_radiograph(path, 28) for path in images.paths])
    assert (images.errors, capsys.readouterr()) == ([], ("", ""))
    images.end()


def test_bad_images_are_one_line_each_and_end_the_process_late(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    good = [save_image(tmp_path / "good/1.png"), save_image(tmp_path / "good/3.png")]
    (tmp_path / "good/2.png").write_text("no radiograph")
    images = read_named([tmp_path / "none.png", tmp_path / "good", tmp_path / "empty"], 28)
    assert images.paths == good
    assert {Path(error["path"]).name: error["message"] for error in images.errors} == {
        "none.png": "no such file",
        "2.png": "not a PNG, JPEG or DICOM picture",
        "empty": "no PNG, JPEG or DICOM radiograph in this folder",
    }
    printed = capsys.readouterr().err.splitlines()
    assert printed == [f"error: {error['path']}: {error['message']}" for error in images.errors]
    with pytest.raises(SystemExit) as stop:
        images.end()
    assert stop.value.code == 1


def test_no_image_at_all(tmp_path):
    images = read_named([tmp_path], 28)
    assert images.images.shape == (0, 28, 28)
    assert len(images.errors) == 1


def test_pictures_are_png_and_never_overwrite_a_image(tmp_path):
    path = save_image(tmp_path / "film.png")
    images = read_named([path], 28)
    radiographs.check_picture(tmp_path / "other.PNG", "--picture", images)
    with refused("--picture ", "film.png: would overwrite a radiograph"):
        radiographs.check_picture(tmp_path / "x" / ".." / "film.png", "--picture", images)
    (tmp_path / "folder.png").mkdir()
    for target in ("picture.jpg", "picture", "folder.png"):
        with refused(f"--picture {tmp_path / target}: not the name of a .png file"):
            radiographs.check_picture(tmp_path / target, "--picture")
