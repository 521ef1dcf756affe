"""Which films a person means by files and folders, and how bad ones are reported."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.commands import radiographs
from cxr.commands.radiographs import read_named
from cxr.data.radiograph import read_radiograph
from tests.builders import dicom, dicom_bytes, noise_films, refused


def save_film(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    film = noise_films(1, 30, seed)[0]
    if path.suffix in (".png", ".jpg"):
        Image.fromarray(film).save(path)
    else:
        path.write_bytes(dicom_bytes(dicom(film)))
    return path


def test_folders_give_their_films_in_order_and_nothing_else(tmp_path, capsys):
    named = ["b.png", "a/z.dcm", "a/IM0001", "a/deep/c.jpg"]
    for seed, name in enumerate([*named, ".hidden.png", ".git/d.png", "__MACOSX/e.png", "DICOMDIR"]):
        save_film(tmp_path / name, seed)
    (tmp_path / "notes.txt").write_text("no film")
    (tmp_path / "short").write_text("")
    first = save_film(tmp_path.parent / "first.png", 9)
    films = read_named([first, tmp_path], 28)
    assert films.paths == [first, *(tmp_path / name for name in sorted(named))]
    np.testing.assert_array_equal(films.images, [read_radiograph(path, 28) for path in films.paths])
    assert (films.errors, capsys.readouterr()) == ([], ("", ""))
    films.end()


def test_bad_films_are_one_line_each_and_end_the_process_late(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    good = [save_film(tmp_path / "good/1.png"), save_film(tmp_path / "good/3.png")]
    (tmp_path / "good/2.png").write_text("no film")
    films = read_named([tmp_path / "none.png", tmp_path / "good", tmp_path / "empty"], 28)
    assert films.paths == good
    assert {Path(error["path"]).name: error["message"] for error in films.errors} == {
        "none.png": "no such file",
        "2.png": "not a PNG, JPEG or DICOM picture",
        "empty": "no PNG, JPEG or DICOM film in this folder",
    }
    printed = capsys.readouterr().err.splitlines()
    assert printed == [f"error: {error['path']}: {error['message']}" for error in films.errors]
    with pytest.raises(SystemExit) as stop:
        films.end()
    assert stop.value.code == 1


def test_no_film_at_all(tmp_path):
    films = read_named([tmp_path], 28)
    assert films.images.shape == (0, 28, 28)
    assert len(films.errors) == 1


def test_pictures_are_png_and_never_overwrite_a_film(tmp_path):
    path = save_film(tmp_path / "film.png")
    films = read_named([path], 28)
    radiographs.check_picture(tmp_path / "other.PNG", "--picture", films)
    with refused("--picture ", "film.png: would overwrite a film"):
        radiographs.check_picture(tmp_path / "x" / ".." / "film.png", "--picture", films)
    (tmp_path / "folder.png").mkdir()
    for target in ("picture.jpg", "picture", "folder.png"):
        with refused(f"--picture {tmp_path / target}: not the name of a .png file"):
            radiographs.check_picture(tmp_path / target, "--picture")
