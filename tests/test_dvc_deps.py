"""dvc.yaml tells DVC the truth: each stage declares the code it imports and the parameters it reads."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")
STAGES = PIPELINE["stages"]


def script(stage: str) -> Path:
    return ROOT / "stages" / f"{stage.replace('-', '_')}.py"


def module_file(name: str) -> Path | None:
    path = ROOT / Path(*name.split("."))
    if path.is_dir():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else None


def imported(path: Path) -> set[Path]:
    """The files of this repository that `path` imports itself."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from cxr import figures` imports cxr/figures.py, `from cxr.files import atomic` cxr/files.py
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {file for name in names if name.split(".")[0] in ("cxr", "stages") and (file := module_file(name))}


def closure(path: Path) -> set[Path]:
    found, todo = {path}, [path]
    while todo:
        new = imported(todo.pop()) - found
        found |= new
        todo += new
    return found


def params_read(path: Path) -> set[str]:
    """The sections that code takes from what `load()` of cxr.params returned, as `params.<section>`."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "params"}


@pytest.mark.parametrize("stage", STAGES)
def test_declared_code_is_the_imported_code(stage: str) -> None:
    declared = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    needed = {
        path.relative_to(ROOT).as_posix() for path in closure(script(stage)) if path.name != "__init__.py"
    }
    assert declared == needed


@pytest.mark.parametrize("stage", STAGES)
def test_files_beside_the_code_are_declared_where_they_are_read(stage: str) -> None:
    """Templates and word lists: code that names such a file reads it."""
    beside = [path for folder in ("cxr", "stages") for path in ROOT.glob(f"{folder}/**/*.*")]
    beside = [path for path in beside if path.suffix in (".j2", ".yaml")]
    code = [path.read_text() for path in closure(script(stage))]
    needed = {path for path in beside if any(f'"{path.name}"' in text for text in code)}
    declared = {ROOT / dep for dep in STAGES[stage]["deps"]}
    assert declared & set(beside) == needed
    assert len(beside) >= 3


@pytest.mark.parametrize("stage", STAGES)
def test_declared_params_are_the_ones_read(stage: str) -> None:
    code = closure(script(stage)) - {ROOT / "cxr/params.py"}  # which checks them all
    assert set(STAGES[stage].get("params", [])) == set().union(*(params_read(path) for path in code))


@pytest.mark.parametrize("path", sorted(ROOT.glob("cxr/**/__init__.py")), ids=lambda path: path.parent.name)
def test_package_files_hold_no_code(path: Path) -> None:
    """Otherwise they would have to be deps of every stage."""
    assert [type(node) for node in ast.parse(path.read_text()).body] == [ast.Expr]


def test_params_are_loaded_only_by_stages() -> None:
    """A module that loaded params.yaml itself would hide from DVC what it reads."""
    for path in ROOT.glob("cxr/**/*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {ast.unparse(call.func) for call in calls}
        assert "params.load" not in names or path.name == "recipes.py", path


@pytest.mark.parametrize("stage", STAGES)
def test_one_name_in_four_places(stage: str) -> None:
    name = stage.replace("-", "_")
    assert STAGES[stage]["desc"]
    assert STAGES[stage]["cmd"] == f"python -m stages.{name}"
    assert script(stage).is_file()
    assert (ROOT / "tests" / f"test_{name}.py").is_file()


def outs(stage: str) -> list[str]:
    entries = [out for kind in ("outs", "metrics", "plots") for out in STAGES[stage].get(kind, [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in entries]


@pytest.mark.parametrize("stage", STAGES)
def test_no_dep_lies_in_a_directory_out(stage: str) -> None:
    """Such a file escapes `dvc repro --allow-missing`."""
    folders = {Path(out) for other in STAGES for out in outs(other) if not Path(out).suffix}
    assert folders == {Path("reports/cases")}  # as many pictures as report.cases says
    assert not [dep for dep in STAGES[stage]["deps"] if {Path(dep), *Path(dep).parents} & folders]


@pytest.mark.parametrize("plot", PIPELINE["plots"], ids=lambda plot: next(iter(plot)))
def test_plots_are_readable(plot: dict) -> None:
    (settings,) = plot.values()
    assert settings["title"]
    assert settings["x_label"]
    assert settings["y_label"]
    (columns,) = settings["y"].values()
    assert isinstance(columns, str) or len(columns) <= 3
    assert set(settings["y"]) <= {out for stage in STAGES for out in outs(stage)}
