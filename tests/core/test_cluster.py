"""What keeps a task from a cluster, or a node from a task, is one line. What runs on real nodes is in
tests/cluster/."""

import ast
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tqdm import tqdm

from cxr.core import engine
from cxr.core.cluster import Driver, Progress, connected, tell_processors
from cxr.core.device import processor
from tests.builders import ROOT, refused, settings

COMPUTE = settings("compute", device="cpu", workers=1, threads=1)


def double(number: int, tick: engine.Tick) -> int:
    tick()
    return 2 * number


def test_without_an_address_tasks_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (None, ""):
        monkeypatch.delenv(engine.ADDRESS, raising=False)
        if address is not None:
            monkeypatch.setenv(engine.ADDRESS, address)
        with tqdm(disable=True) as bar:
            assert engine.side_by_side(double, 3, COMPUTE, bar) == [0, 2, 4]


def test_without_the_extra_nothing_imports_ray() -> None:
    """An import inside a function is run where a cluster is asked for, and nowhere else."""
    paths = [path for top in ("cxr", "stages", "service") for path in ROOT.glob(f"{top}/**/*.py")]
    inside = {path for path in paths if names_ray(list(ast.walk(ast.parse(path.read_text()))))}
    assert inside == {ROOT / name for name in ("cxr/core/cluster.py", "cxr/core/cluster_actors.py")}
    for path in inside:
        assert not names_ray(ast.parse(path.read_text()).body), path


def names_ray(nodes: Sequence[ast.AST]) -> bool:
    imports = [node for node in nodes if isinstance(node, ast.Import)]
    names = [alias.name for node in imports for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return any(name.split(".")[0] == "ray" for name in names)


def test_a_cluster_without_the_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(engine.ADDRESS, "127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "ray", None)
    with refused("RAY_ADDRESS is 127.0.0.1:1", "Ray is not installed", "uv sync --extra ray"), connected():
        pass


def test_a_cluster_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for address in (f"127.0.0.1:{port}", "nonsense", "127.0.0.1:port"):
        monkeypatch.setenv(engine.ADDRESS, address)
        with tqdm(disable=True) as bar, refused(f"RAY_ADDRESS is {address}", "no Ray cluster answers"):
            engine.side_by_side(double, 1, COMPUTE, bar)


def test_a_node_has_the_folder_and_the_same_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXR_MIRROR", "there")
    driver = Driver.this(COMPUTE)
    monkeypatch.delenv("CXR_MIRROR")
    monkeypatch.chdir("/")
    with refused("there is no folder", "elsewhere", "shared file system"):
        replace(driver, folder=str(tmp_path / "elsewhere")).enter()
    with refused("PyTorch is", "here 0.0", "same environment"):
        replace(driver, torch_version="0.0").enter()
    assert Path.cwd() == Path("/")
    torch.use_deterministic_algorithms(False)
    monkeypatch.setenv("CXR_MIRROR", "elsewhere")
    driver.enter()
    assert Path.cwd() == tmp_path
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CXR_MIRROR"] == "there"


def test_steps_of_a_retried_task_count_once() -> None:
    progress = Progress()
    for number, steps in ((0, 1), (1, 1), (0, 2), (0, 1), (0, 2), (0, 3)):
        progress.report(number, steps)
    assert progress.total() == 4


def test_another_type_of_processor_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tell_processors({0: processor(), 1: processor()}, "tasks")
    assert capsys.readouterr().out == ""
    tell_processors({0: processor(), 2: "Another 3000", 1: "Another 3000"}, "tasks")
    (line,) = capsys.readouterr().out.splitlines()
    assert "last digits may differ: tasks 1 (Another 3000), 2 (Another 3000)" in line
    assert processor() in line
