"""What several test files share: small runs of the real pipeline, of two and of three classes."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from ruamel.yaml import YAML

from cxr import cli
from cxr.recipes import apply_recipe
from scripts import workspace
from tests import builders
from tests.builders import ROOT
from tests.repository import Repository

# `python` and `dvc` inside the pipeline are those that run the tests.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

TINY = """\
download: {source: phantom}
phantom: {images: 240}
train: {members: 2, epochs: 2, batch_size: 32, precision: float32}
imbalance: {strategy: both}
evaluate: {bootstrap: 200}
compute: {workers: 1}
"""
# The first to be shared out, in this order: the longest, of which the first alone needs `tiny_run`.
LONG = (
    "pipeline/test_pipeline.py",
    "stages/test_train.py",
    "training/",
    "service/",
    "test_dvc_deps.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(ROOT / "tests").as_posix()
        return next((number for number, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=place)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Call `cxr` in an empty folder: exit code, lines of stdout, lines of stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        monkeypatch.setattr(sys, "argv", ["cxr", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return call


def built_once(tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """The folder `name` that `build` fills, once for all processes among which the tests are shared out."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        done = folder.with_suffix(".done")
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            folder.mkdir()
            build(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The pipeline after one `dvc repro` on a few synthetic radiographs, committed; a copy for each process,
    since tests run DVC in it. They leave it as they find it."""

    def build(folder: Path) -> None:
        repository = Repository(folder / "repository")
        workspace.copy_tracked(ROOT, repository.path)
        (folder / "tiny.yaml").write_text(TINY)
        apply_recipe(folder / "tiny.yaml", repository.path / "params.yaml")
        repository.run("dvc", "repro")
        workspace.commit(repository.path, "tiny run")

    pristine = built_once(tmp_path_factory, "tiny", build) / "repository"
    copy = tmp_path_factory.mktemp("tiny") / "repository"
    shutil.copytree(pristine, copy, symlinks=True)
    return Repository(copy)


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained model of two classes, and what the stages evaluate, index and export make of
    it. Tests leave it as they find it."""

    def build(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            builders.write_exported()

    return built_once(tmp_path_factory, "exported", build)


@pytest.fixture(scope="session")
def three_class_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage has run, one after the other, on a few radiographs of noise of three
    classes. Tests leave it as they find it."""
    folder = tmp_path_factory.mktemp("three_classes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        generator = np.random.default_rng(0)
        for split, count in (("train", 8), ("val", 4), ("test", 4)):
            for label, name in enumerate(("normal", "pneumonia", "tuberculosis")):
                of_class = Path("images", split, name)
                of_class.mkdir(parents=True)
                for number in range(count):
                    image = generator.normal(60 + 60 * label, 30, (20, 20)).clip(0, 255).astype(np.uint8)
                    Image.fromarray(image).save(of_class / f"{number}.png")
        builders.write_params(
            folder,
            {"download.source": "folder", "download.folder": "images", "download.size": 16}
            | {"clip_embed.dimensions": 4, "imbalance.strategy": "both", "evaluate.bootstrap": 100}
            | {"train.members": 2, "train.epochs": 2, "train.batch_size": 8}
            | {"compute.workers": 1, "compute.device": "cpu"},
        )
        shutil.copytree(ROOT / "prompts", "prompts")
        Path("docs").mkdir()
        shutil.copy(ROOT / "docs/test_ledger.yaml", "docs")
    Repository(folder).run_stages(*YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])
    return folder
