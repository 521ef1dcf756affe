"""The house stands as cxr/__init__.py says: each contract of pyproject.toml turns red on a wrong import,
rooms explain themselves, files have the size of one thought."""

import ast
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from scripts.workspace import copy_tracked
from tests.builders import ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
ROOMS = ("core", "data", "models", "figures", "training", "inference", "evaluation", "embeddings", "reports")
MODULES = [path for path in sorted(ROOT.glob("cxr/**/*.py")) if path.name != "__init__.py"]
# What cxr/__init__.py holds beside its docstring: `cxr.load` and `cxr.__version__`, imported when asked for.
LAZY = [
    "from typing import TYPE_CHECKING, Any",
    "if TYPE_CHECKING:",
    "def __getattr__(name: str) -> Any:",
]
LONGEST, SHORTEST = 300, 20  # lines of a module
# Reasons why a module may be shorter.
SHORT = {
    "cxr/reports/disclaimer.py": "the service and the commands say it too, and need nothing else of reports",
}
# For each contract a file, and an import in it that the contract forbids.
WRONG = {
    "A room imports only what lies below it": ("cxr/models/network.py", "import cxr.training.loop"),
    "Data and figures stand on core alone: no other room imports them": (
        "cxr/evaluation/metrics.py",
        "import cxr.figures.style",
    ),
    "No room imports a door": ("cxr/core/files.py", "import cxr.commands.radiographs"),
    "The doors do not import each other": ("stages/split.py", "import service.settings"),
    "Training is known to the stage train alone": (
        "cxr/inference/calibration.py",
        "import cxr.training.loop",
    ),
    "Only figures, and two files of the commands, draw": (
        "cxr/reports/page.py",
        "import matplotlib",
    ),
    "The way from a file to an answer needs no PyTorch, SciPy and scikit-learn": (
        "cxr/commands/radiographs.py",
        "import scipy",
    ),
    "What the service needs runs without PyTorch, scikit-learn, SciPy and matplotlib": (
        "cxr/data/radiograph.py",
        "import scipy",
    ),
}


def lint(folder: Path) -> str:
    """What `lint-imports` prints of the checkout `folder`."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is printed of a copy with all the imports of `WRONG`."""
    copy = tmp_path_factory.mktemp("house") / "copy"
    copy_tracked(ROOT, copy)
    for name, line in WRONG.values():
        path = copy / name
        path.write_text(path.read_text() + f"\n{line}\n")
    return lint(copy)


def test_every_contract_has_its_wrong_import() -> None:
    assert [contract["name"] for contract in CONTRACTS] == list(WRONG)


@pytest.mark.parametrize("contract", WRONG)
def test_a_contract_turns_red(wrong: str, contract: str) -> None:
    assert f"{contract} BROKEN" in wrong


def test_all_contracts_are_kept() -> None:
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in lint(ROOT)


def test_the_rooms_are_the_folders() -> None:
    folders = {path.parent.name for path in ROOT.glob("cxr/*/__init__.py")}
    assert folders == {*ROOMS, "commands"}
    assert {path.name for path in ROOT.glob("cxr/*.py")} == {
        "__init__.py",
        "cli.py",
        "model.py",
        "params.py",
        "recipes.py",
    }


@pytest.mark.parametrize("path", sorted(ROOT.glob("cxr/**/__init__.py")), ids=lambda path: path.parent.name)
def test_package_files_hold_a_docstring_alone(path: Path) -> None:
    """.dvcignore leaves them out, so code in one would rerun nothing."""
    tree = ast.parse(path.read_text())
    assert len(ast.get_docstring(tree) or "") > 40
    rest = tree.body[1:]
    if path == ROOT / "cxr/__init__.py":  # the one exception, which tests/test_model.py executes
        assert [ast.unparse(node).splitlines()[0] for node in rest] == LAZY
        rest = []
    assert rest == []


def test_importing_the_package_imports_nothing_of_it() -> None:
    code = "import sys, cxr; print(sorted(name for name in sys.modules if name.startswith('cxr.')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_is_neither_long_nor_a_crumb(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST
    assert (lines < SHORTEST) == (path.relative_to(ROOT).as_posix() in SHORT)


def test_no_two_public_things_have_one_name() -> None:
    """But for what every command, stage or part of the service has to offer under the same name."""
    homes: dict[str, list[Path]] = defaultdict(list)
    for path in [
        path for top in ("cxr", "stages", "service") for path in sorted(ROOT.glob(f"{top}/**/*.py"))
    ]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                homes[node.name].append(path)
    shared = {name for name, paths in homes.items() if len(paths) > 1 and not name.startswith("_")}
    assert shared == {"add", "call", "main", "routes"}


def test_params_are_loaded_only_by_stages_and_commands() -> None:
    """A room that loaded params.yaml itself would hide from DVC what it reads."""
    for path in [path for room in ROOMS for path in ROOT.glob(f"cxr/{room}/**/*.py")]:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not {"params.load", "load_params"} & {ast.unparse(call.func) for call in calls}, path


def test_the_command_line_starts_without_pytorch() -> None:
    code = (
        "import sys, cxr.cli; print(sorted({'torch', 'matplotlib', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
