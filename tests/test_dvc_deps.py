"""dvc.yaml tells DVC the truth: each stage declares the rooms it imports and the parameters it reads, and an
edit reruns what the table below says."""

import ast
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from cxr.params import Compute
from tests.builders import ROOT
from tests.repository import Repository

PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")
STAGES = PIPELINE["stages"]
# They hand on what params.yaml says or refuse it (tests/test_params.py), and DVC tracks the values
# themselves.
EXEMPT = {"cxr/params.py"}
# How many processes train side by side changes how long it takes and no byte (tests/stages/test_train.py
# shows it for 1 and 2), so results stay up to date on another number of cores.
CHANGES_NO_BYTE = "compute.workers"
ENVIRONMENT = {"clip-embed", "train", "calibrate", "export"}  # what another version of a package may change


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
            # `from cxr.core import files` imports cxr/core/files.py, as `from cxr.core.files import atomic`
            # does
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
    """The sections that code takes from what was loaded of params.yaml, as `params.<section>`."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "params"}


def code_deps(stage: str) -> list[Path]:
    return [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith(("cxr/", "stages/"))]


@pytest.mark.parametrize("stage", STAGES)
def test_rooms_cover_the_imports_and_none_is_idle(stage: str) -> None:
    declared = code_deps(stage)
    needed = {
        path
        for path in closure(script(stage))
        if path.relative_to(ROOT).as_posix() not in EXEMPT and path.name != "__init__.py"
    }
    for path in needed:
        assert any(path == dep or dep in path.parents for dep in declared), path
    for dep in [dep for dep in declared if dep.suffix != ".j2"]:
        assert any(path == dep or dep in path.parents for path in needed), dep


@pytest.mark.parametrize("stage", STAGES)
def test_files_beside_the_code_are_declared_where_they_are_read(stage: str) -> None:
    """Templates and word lists: code that names such a file reads it."""
    beside = [path for folder in ("cxr", "stages") for path in ROOT.glob(f"{folder}/**/*.*")]
    beside = [path for path in beside if path.suffix in (".j2", ".yaml")]
    assert len(beside) >= 3
    code = [path.read_text() for path in closure(script(stage))]
    for path in beside:
        if any(f'"{path.name}"' in text for text in code):
            assert any(path == dep or dep in path.parents for dep in code_deps(stage)), path


@pytest.mark.parametrize("stage", STAGES)
def test_declared_params_are_the_ones_read(stage: str) -> None:
    code = closure(script(stage)) - {ROOT / name for name in EXEMPT}
    sections = set().union(*(params_read(path) for path in code))
    # All keys of a section, or one; but of compute those that can change a byte.
    declared = {
        name if name.startswith("compute.") else name.split(".")[0]
        for name in STAGES[stage].get("params", [])
    }
    if "compute" in sections:
        of_compute = {f"compute.{key}" for key in Compute.model_fields}
        sections = sections - {"compute"} | (of_compute - {CHANGES_NO_BYTE})
    assert declared == sections


def attributes(path: Path) -> set[str]:
    """The names that are read as attributes, such as `workers` in `compute.workers`."""
    return {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}


def test_what_changes_no_byte_is_read_at_one_place() -> None:
    code = set().union(*(closure(script(stage)) for stage in STAGES))
    reading = {path for path in code if "workers" in attributes(path)}
    assert reading == {ROOT / "cxr/core/processes.py"}


def test_what_depends_on_the_environment() -> None:
    assert {stage for stage in STAGES if "environment.txt" in STAGES[stage]["deps"]} == ENVIRONMENT


def test_the_pipeline_can_be_read() -> None:
    lines = (ROOT / "dvc.yaml").read_text().splitlines()
    assert len(lines) <= 570
    assert sum(len(code_deps(stage)) for stage in STAGES) <= 75


@pytest.mark.parametrize("stage", STAGES)
def test_one_name_in_four_places(stage: str) -> None:
    name = stage.replace("-", "_")
    assert STAGES[stage]["desc"]
    assert STAGES[stage]["cmd"] == f"python -m stages.{name}"
    assert script(stage).is_file()
    assert (ROOT / "tests" / "stages" / f"test_{name}.py").is_file()


def outs(stage: str) -> list[str]:
    entries = [out for kind in ("outs", "metrics", "plots") for out in STAGES[stage].get(kind, [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in entries]


@pytest.mark.parametrize("stage", STAGES)
def test_no_dep_lies_in_a_directory_out(stage: str) -> None:
    """Such a file escapes `dvc repro --allow-missing`."""
    folders = {Path(out) for other in STAGES for out in outs(other) if not Path(out).suffix}
    assert folders == {Path("reports/cases")}  # as many figures as report.cases says
    assert not [dep for dep in STAGES[stage]["deps"] if {Path(dep), *Path(dep).parents} & folders]


@pytest.mark.parametrize("stage", STAGES)
def test_what_another_stage_reads_is_no_plot(stage: str) -> None:
    """A plot is for people; what a stage reads is a metric or data."""
    assert not [dep for dep in STAGES[stage]["deps"] if dep.startswith("plots/")]


@pytest.mark.parametrize("plot", PIPELINE["plots"], ids=lambda plot: next(iter(plot)))
def test_plots_are_readable(plot: dict) -> None:
    (settings,) = plot.values()
    assert settings["title"]
    assert settings["x_label"]
    assert settings["y_label"]
    (columns,) = settings["y"].values()
    assert isinstance(columns, str) or len(columns) <= 3
    assert set(settings["y"]) <= {out for stage in STAGES for out in outs(stage)}


EVERY = set(STAGES)
EVALUATION = {"cluster", "evaluate", "index", "explain", "corrupt", "robustness", "shift", "report"}
INFERENCE = {"calibrate", "evaluate", "index", "explain", "robustness", "report", "export"}
MODELS = {"calibrate", "evaluate", "index", "explain", "corrupt", "shift", "report", "export"}
COMPUTING = {"clip-embed", "train"} | MODELS
# What `dvc repro` would run again after one new line in a file, before it has looked at what comes out.
EDITS = {
    "cxr/commands/predict.py": set(),
    "cxr/commands/compare/comparison.py": set(),
    "service/app.py": set(),
    "scripts/demo.py": set(),
    "cxr/params.py": set(),
    "cxr/recipes.py": set(),
    "cxr/cli.py": set(),
    "cxr/training/__init__.py": set(),
    "cxr/training/.loop.py.swp": set(),
    "uv.lock": set(),
    **{f"stages/{stage.replace('-', '_')}.py": {stage} for stage in STAGES},
    "stages/model_card.md.j2": {"card"},
    "docs/test_ledger.yaml": {"card"},
    "cxr/reports/page.py": {"report", "card"},
    "cxr/reports/cases.md.j2": {"report", "card"},
    "cxr/reports/claims.yaml": {"report", "card"},
    "prompts/zero_shot.txt": {"report"},
    "cxr/figures/charts.py": {"split", "cluster", "evaluate", "index", "explain", "robustness", "report"},
    "cxr/embeddings/gallery.py": {"cluster", "index", "explain", "report"},
    "cxr/embeddings/encoders/pixels.py": {"clip-embed", "cluster", "index", "explain", "report"},
    "cxr/evaluation/metrics.py": EVALUATION,
    "cxr/inference/gradcam.py": INFERENCE,
    "cxr/training/loop.py": {"train"},
    "cxr/models/network.py": {"clip-embed", "train"} | MODELS,
    "cxr/data/radiograph.py": {"download", "split"},
    "cxr/core/files.py": EVERY,
    "environment.txt": ENVIRONMENT,
}


@pytest.fixture(scope="module")
def flagged(
    tiny_run: Repository, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], set[str]]]:
    """In a copy of the tiny run: the stages that `dvc status` names."""
    copy = tmp_path_factory.mktemp("edits") / "repository"
    shutil.copytree(tiny_run.path, copy, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy)
        repository = Repo()
        yield lambda: set(repository.status())


def test_nothing_is_flagged_before_an_edit(flagged: Callable[[], set[str]]) -> None:
    assert flagged() == set()


@pytest.mark.parametrize(
    ("old", "new", "reruns"),
    [("workers: 1", "workers: 3", set()), ("threads: 1", "threads: 2", COMPUTING)],
)
def test_a_compute_setting_reruns(
    flagged: Callable[[], set[str]], old: str, new: str, reruns: set[str]
) -> None:
    path = Path("params.yaml")
    before = path.read_text()
    assert before.count(old) == 1
    path.write_text(before.replace(old, new))
    try:
        assert flagged() == reruns
    finally:
        path.write_text(before)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_reruns(flagged: Callable[[], set[str]], name: str) -> None:
    path = Path(name)
    before = path.read_bytes() if path.exists() else None
    path.write_bytes((before or b"") + b"\n")
    try:
        assert flagged() == EDITS[name]
    finally:
        path.write_bytes(before) if before is not None else path.unlink()
