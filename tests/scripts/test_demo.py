"""`make demo` replaces what a demo wrote, and nothing else."""

import subprocess
from pathlib import Path

import pytest

from scripts import demo, workspace
from tests.builders import refused

NOBODY = "-c user.name=nobody -c user.email=nobody@localhost"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a finished demo leaves, without its run."""
    source, folder = tmp_path / "source", tmp_path / "demo"
    (source / "metrics").mkdir(parents=True)
    for name in ("params.yaml", "notes.md", "metrics/test.json"):
        (source / name).write_text("1\n")
    subprocess.run(["git", "init", "--quiet"], cwd=source, check=True)
    subprocess.run(["git", "add", "--all"], cwd=source, check=True)
    workspace.copy_tracked(source, folder)
    (folder / "params.yaml").write_text("2\n")
    workspace.commit(folder, demo.RUN)
    return folder


def git(folder: Path, *arguments: str) -> None:
    workspace.call(folder, "git", *arguments)


def test_a_finished_demo_holds_no_work(folder):
    assert demo.work_in(folder) == ""
    assert demo.work_in(folder / "nothing here") == ""


def test_an_interrupted_demo_holds_no_work(folder):
    git(folder, "reset", "--quiet", "--soft", "HEAD~1")
    (folder / "metrics/test.json").write_text("3\n")
    (folder / "dvc.lock").write_text("4\n")
    assert demo.work_in(folder) == ""
    (folder / "notes.md").write_text("mine\n")
    assert demo.work_in(folder) == "changes of notes.md"


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (["git branch mine"], "the branch mine"),
        (["git update-ref refs/exps/ab/cdef/mine HEAD"], "DVC experiments (1)"),
        ([f"git {NOBODY} commit --quiet --allow-empty -m lesson"], "the commit 'lesson'"),
        (["sh -c 'echo 5 > params.yaml'"], "changes of params.yaml"),
    ],
)
def test_work_is_never_deleted(folder, monkeypatch, work, words):
    for command in work:
        subprocess.run(command, shell=True, cwd=folder, check=True)
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(workspace, "copy_tracked", lambda *_: pytest.fail("would have been replaced"))
    with refused(f"{folder}: holds {words}; move the folder elsewhere or delete it"):
        demo.main(folder)
    assert sorted(folder.rglob("*")) == before


def test_a_folder_that_is_no_demo_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with refused("holds files that no demo wrote"):
        demo.main(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years"
