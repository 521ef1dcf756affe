"""The layers of installation: the base layer is enough for what it is for, and has nothing that is not."""

import os
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from scripts.docker_image import size
from tests.builders import ROOT, noise_images

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LARGEST, SLOWEST = 350, 2  # MB of the base layer; seconds until `cxr predict` has answered
HEAVY = {"torch", "torchvision", "scipy", "scikit-learn", "triton", "dvc", "transformers"}

# Runs commands where only the packages of a layer can be imported. argv: their distributions, then a command
# each, with its arguments separated by spaces.
ONLY_THE_LAYER = """
import importlib.metadata, re, sys

layer = set(sys.argv[1].split())
homes = importlib.metadata.packages_distributions()
named = {top: {re.sub("[-_.]+", "-", name).lower() for name in names} for top, names in homes.items()}
outside = {top for top, names in named.items() if not layer & names}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in outside - {"cxr", "service"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

assert {"torch", "scipy", "sklearn"} <= outside
sys.meta_path.insert(0, Absent())
from cxr import cli

for command in sys.argv[2:]:
    sys.argv = ["cxr", *command.split()]
    cli.main()
if "fastapi" not in outside:
    import service.app
"""


def distributions(*options: str) -> set[str]:
    """The names of the packages of a layer, as uv.lock has them."""
    command = ["uv", "export", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "--no-header"]
    done = subprocess.run([*command, *options], cwd=ROOT, check=True, capture_output=True, text=True)
    return {line.split("==")[0] for line in done.stdout.splitlines() if line[0] not in " #"}


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders."""
    folder = tmp_path_factory.mktemp("radiographs")
    for number, image in enumerate(noise_images(8, size=40)):
        path = folder / ("normal" if number % 2 else "pneumonia") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image // (1 + number % 2)).save(path)
    return folder


def test_what_the_base_layer_is_for_needs_no_other(
    exported_run: Path, radiographs: Path, tmp_path: Path
) -> None:
    layer = distributions("--extra", "serve")
    assert not layer & HEAVY
    assert "onnxruntime" in layer
    commands = [
        f"predict {radiographs} --model {exported_run} --explain maps.png",
        f"search {radiographs} --model {exported_run} --picture neighbours.png",
        f"validate {radiographs} --model {exported_run} --page page.html",
        f"embed {radiographs} --out vectors --model {exported_run}",
        f"search {radiographs} --model {exported_run} --gallery vectors",
        "recipe --list",
    ]
    done = subprocess.run(
        [sys.executable, "-c", ONLY_THE_LAYER, " ".join(layer), *commands],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHON_CPU_COUNT": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    written = {"maps.png", "neighbours.png", "page.html", "vectors"}
    assert {path.name for path in tmp_path.iterdir()} == written
    assert "small_cnn" in done.stdout


def test_the_layers_are_disjoint_and_complete() -> None:
    """Each package stands in one layer, and what the development environment has of them is all but nf4."""
    layers = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    packages = [requirement for requirements in layers.values() for requirement in requirements]
    assert len(packages) == len(set(packages))
    assert HEAVY - {"triton"} <= distributions("--extra", "train")
    developed = distributions("--dev", "--group", "dev")
    assert developed >= distributions("--extra", "train", "--extra", "serve", "--extra", "parquet")
    assert not {"bitsandbytes", "accelerate"} & developed


@pytest.mark.slow  # builds the wheel and installs it with packages from the registry: a minute
def test_the_wheel_in_a_clean_environment(
    exported_run: Path, radiographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At most `LARGEST`, the first answer within `SLOWEST`, and no PyTorch."""

    def call(*command: str | Path, cwd: Path = tmp_path) -> str:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(command, cwd=cwd, env=plain, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
        return done.stdout

    call("uv", "build", "--wheel", "--out-dir", tmp_path, cwd=ROOT)
    (wheel,) = tmp_path.glob("cxr-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = ["recipes/default.yaml", "prompts/zero_shot.txt", "params.schema.json", "params.yaml"]
    assert names >= {"cxr/py.typed", *(f"cxr/resources/{name}" for name in expected)}
    assert not any(name.startswith(("stages/", "tests/", "data/")) for name in names)

    locked = tmp_path / "locked.txt"
    call("uv", "export", "--frozen", "--no-dev", "--no-emit-project", "--output-file", locked, cwd=ROOT)
    call("uv", "venv", "--python", sys.executable, tmp_path / "venv")
    program = tmp_path / "venv/bin/python"
    started = time.monotonic()
    call("uv", "pip", "install", "--python", program, "--requirements", locked)
    call("uv", "pip", "install", "--python", program, "--no-deps", wheel)
    seconds = time.monotonic() - started
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    installed = size(packages)
    assert installed <= LARGEST
    assert not (packages / "torch").exists()

    empty = tmp_path / "empty"
    empty.mkdir()
    cxr = tmp_path / "venv/bin/cxr"
    assert call(cxr, "--version", cwd=empty).startswith("cxr ")
    assert "small_cnn" in call(cxr, "recipe", "--list", cwd=empty)
    assert "COMPREPLY" in call(cxr, "--print-completion", "bash", cwd=empty)
    one = sorted(radiographs.rglob("*.png"))[0]
    times = []
    for _ in range(4):  # the first one compiles bytecode
        started = time.monotonic(), os.times().children_user
        assert "For research only" in call(cxr, "predict", one, "--model", exported_run, cwd=empty)
        times.append(time.monotonic() - started[0])
        assert os.times().children_user - started[1] <= SLOWEST  # what other processes do not lengthen
    assert "cosine" in call(cxr, "search", one, "--model", exported_run, cwd=empty)
    assert "radiographs" in call(cxr, "validate", radiographs, "--model", exported_run, cwd=empty)
    code = (
        "import sys, cxr; model = cxr.load(sys.argv[1]); print(len(model.predict([sys.argv[2]])), "
        "model.embed([sys.argv[2]]).shape, 'torch' in sys.modules)"
    )
    printed = call(program, "-c", code, exported_run, one, cwd=empty)
    assert printed.startswith("1 (1, ")
    assert printed.endswith("False\n")
    with capsys.disabled():
        print(
            f"\nbase layer: {installed:.0f} MB, installed in {seconds:.1f} s, `cxr predict` answers after "
            f"{times[0]:.2f} s, then {min(times):.2f} s (Python {sys.version.split()[0]})"
        )
