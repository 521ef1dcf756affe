"""The command `cxr` itself: version, completion, and one line where a repository or a package is missing."""

import shutil
import subprocess
from importlib.metadata import version

import pytest

from cxr import cli, recipes
from cxr.commands import leaderboard
from tests.builders import ROOT, files_below


def test_version(run):
    assert run("--version") == (0, [f"cxr {version('cxr')}"], [])


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_commands_and_files(run, tmp_path):
    code, out, err = run("--print-completion", "bash")
    assert (code, err) == (0, [])
    (tmp_path / "cxr.bash").write_text("\n".join(out) + "\n")
    (tmp_path / "chest.png").touch()
    script = (
        "source ./cxr.bash; complete -p cxr >/dev/null; "
        'function_name=$(complete -p cxr | sed "s/.*-F \\([^ ]*\\) .*/\\1/"); '
        'try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); $function_name; '
        'echo "${COMPREPLY[@]}"; }; try cxr pre; try cxr predict --mo; try cxr predict che'
    )
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["predict", "--model", "chest.png"]


def test_recipes_are_listed_outside_of_the_repository(run, monkeypatch):
    code, out, err = run("recipe", "--list")
    assert (code, err) == (0, [])
    names = [line.split()[0] for line in out if not line.startswith(" ")]
    assert names == sorted(path.stem for path in ROOT.glob("recipes/*.yaml"))


def test_a_wheel_has_its_recipes_inside(run, monkeypatch, tmp_path):
    packaged = tmp_path / "site-packages/cxr/resources/recipes"
    shutil.copytree(ROOT / "recipes", packaged)
    monkeypatch.setattr(recipes, "__file__", str(tmp_path / "site-packages/cxr/recipes.py"))
    assert recipes.recipe_folder() == packaged
    assert run("recipe", "--list")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["recipe", "small_cnn"], "params.yaml: no such file; run from the repository's root"),
        (["recipe", "small_cnn", "--apply"], "params.yaml: no such file; run from the repository's root"),
        (["leaderboard"], "params.yaml: no such file; run from the repository's root"),
        (["compare"], "not in a Git repository"),
        (["push", "acme/x"], "models/classifier.onnx: no such file, and a release needs it; run `dvc repro`"),
        (["search", "x.png"], "models/classifier.onnx: no model here; name an exported .onnx file"),
        (["validate", "x"], "models/classifier.onnx: no model here; name an exported .onnx file"),
    ],
)
def test_outside_of_a_repository_it_is_one_line(run, tmp_path, monkeypatch, arguments, error):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    code, out, err = run(*arguments)
    assert (code, out, len(err)) == (1, [], 1)
    assert error in err[0]
    assert files_below(tmp_path) == []


def test_a_package_of_another_layer_is_one_line(run, monkeypatch):
    def missing(_):
        raise ModuleNotFoundError("No module named 'scipy.stats'", name="scipy.stats")

    monkeypatch.setattr(leaderboard, "call", missing)
    code, out, err = run("leaderboard")
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith("error: this needs the package scipy, which is not installed; install the layer")


def test_a_mistake_in_the_code_is_not_taken_for_a_missing_package(monkeypatch):
    def missing(_):
        raise ModuleNotFoundError("No module named 'cxr.commands.typo'", name="cxr.commands.typo")

    monkeypatch.setattr("sys.argv", ["cxr", "leaderboard"])
    monkeypatch.setattr(leaderboard, "call", missing)
    with pytest.raises(ModuleNotFoundError):
        cli.main()
