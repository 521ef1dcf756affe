"""Own radiographs: experiments with --temp read them, and nobody else's run notices them."""

import shutil
from pathlib import Path

import pytest

from cxr.data.own_folder import read_folder
from tests.builders import refused, write_tree
from tests.repository import Repository

FILES = [f"{name}/{number}.png" for name in ("normal", "sick") for number in range(3)]


@pytest.fixture(scope="module")
def repository(tiny_run: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    copy = Repository(tmp_path_factory.mktemp("own") / "repository")
    shutil.copytree(tiny_run.path, copy.path, symlinks=True)
    return copy


def test_an_absolute_directory_is_read_in_a_temporary_copy(repository: Repository, tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "radiographs", *FILES)
    settings = ("-S", "download.source=folder", "-S", f"download.folder={folder}")
    output = repository.run("dvc", "exp", "run", "--temp", "--name", "own", *settings, "download")
    assert "6 images of 28 x 28 pixels in 2 classes" in output


def test_a_directory_that_git_ignores_is_refused_in_a_temporary_copy(repository: Repository) -> None:
    folder = write_tree(repository.path / "data/folder", *FILES)
    settings = ("-S", "download.source=folder", "-S", "download.folder=data/folder")
    output = repository.run("dvc", "exp", "run", "--temp", *settings, "download", code=255)
    assert output.count("error: params.yaml: download.folder is 'data/folder', which is empty here") == 1
    assert "absolute path" in output
    # In the folder itself they are read, and nothing else notices them.
    assert "Data and pipelines are up to date." in repository.run("dvc", "repro", "--dry")
    assert len(read_folder(folder, 28).images) == 6


def test_without_a_directory_the_error_says_how_to_name_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    guide = Path("data/folder/README.md")
    guide.parent.mkdir(parents=True)
    guide.touch()
    with refused(f"params.yaml: download.folder is '{guide}', which is not a folder; name the directory"):
        read_folder(guide, 28)
