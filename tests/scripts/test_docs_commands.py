"""Every command on a page of docs/ or in README.md can be called: its options, parameters, modules and
targets exist. tests/pipeline/test_docs_commands.py runs those of the pages that lead through the work."""

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
from dvc.cli import parse_args
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps

from cxr.cli import build_parser
from cxr.params import load_params
from cxr.recipes import recipe_names
from tests.builders import ROOT

SIGN = re.compile(r"^ {4,}(?:\$ )?(?=(?:\w+=\S* )*\(?(?:cxr|dvc|git|python|make) )")
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]


def commands_in(text: str) -> list[str]:
    """The indented commands of a page and those of its shell blocks, one string each, without comments."""
    text = text.replace("\\\n", " ")
    lines = [SIGN.sub("", line) for line in text.splitlines() if SIGN.match(line)]
    for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        lines += block.splitlines()
    return [line for line in lines if not re.match(r"[\w/.]+  ", line)]  # a table of files


def simple_commands(line: str) -> list[list[str]]:
    """The commands that a shell would start, with their arguments."""
    words = shlex.shlex(line, posix=True, punctuation_chars="();&|<>")
    words.whitespace_split, words.commenters = True, "#"
    found: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set("();&|"):
            found.append([])
        elif found[-1] or "=" not in word:  # not a variable before the command
            found[-1].append(word)
    return [each for each in found if each]


def parse_cxr(arguments: list[str], folder: Path) -> None:
    build_parser().parse_args(arguments)
    if arguments[0] == "recipe":
        assert {each for each in arguments[1:] if each[0] != "-"} <= set(recipe_names())


def parse_dvc(arguments: list[str], folder: Path) -> None:
    parsed = parse_args(arguments)
    for changes in get_hydra_sweeps({"params.yaml": list(getattr(parsed, "set_param", None) or [])}):
        shutil.copy(ROOT / "params.yaml", folder)
        apply_overrides(folder / "params.yaml", changes["params.yaml"])
        load_params(folder / "params.yaml")


def parse_python(arguments: list[str], folder: Path) -> None:
    if arguments[0] == "-m" and arguments[1].partition(".")[0] in ("benchmarks", "scripts", "service"):
        assert importlib.util.find_spec(arguments[1])


def parse_make(arguments: list[str], folder: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {each for each in arguments if "=" not in each} <= set(targets)


PARSERS = {"cxr": parse_cxr, "dvc": parse_dvc, "python": parse_python, "make": parse_make}


def check(line: str, folder: Path) -> None:
    """Fails if one of the line's commands cannot be called."""
    for name, *arguments in simple_commands(line):
        if name == "xargs":
            name, *arguments = arguments
        if name in PARSERS:
            PARSERS[name](arguments, folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_can_be_called(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for line in commands_in(page.read_text(encoding="utf-8")):
        try:
            check(line, tmp_path)
        except (SystemExit, Exception) as error:  # noqa: BLE001
            pytest.fail(f"{page.name}: {line}: {error!r}", pytrace=False)


@pytest.mark.parametrize(
    "wrong",
    [
        "cxr predikt a.png",
        "cxr predict --explian maps a.png",
        "(cxr recipe small_cnn2; echo -S train.lr=1e-4) | xargs dvc exp run",
        "dvc exp runn",
        "git switch -c other && dvc exp run --temp -S train.rate=1",
        "RAY_ADDRESS=10.0.0.1:1 dvc exp run --queue -S 'train.epochs=range(0,2)'  # no epochs",
        "python -m benchmarks.nothing 10",
        "CXR_MIRROR=/a make reprot",
    ],
)
def test_a_wrong_command_is_noticed(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises((SystemExit, Exception)):
        check(wrong, tmp_path)


def test_commands_are_found() -> None:
    text = "Text\n\n    FOO=1 dvc repro\n    cxr predict a.png  # why\n    $ dvc repro \\\n        train\n"
    assert commands_in(text) == [
        "FOO=1 dvc repro",
        "cxr predict a.png  # why",
        "dvc repro          train",
    ]
