"""environment.txt is what uv.lock pins of the packages that compute."""

from scripts import environment
from tests.builders import ROOT


def test_environment_is_what_the_lock_file_pins(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    assert environment.PATH.read_text() == environment.pinned(), "run `make environment`"


def test_it_names_what_computes_and_nothing_else(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    names = {line.split("==")[0] for line in environment.PATH.read_text().splitlines()}
    assert {"torch", "torchvision", "numpy", "scikit-learn", "scipy", "pillow", "timm", "onnx"} <= names
    assert not {"ruff", "fastapi", "pytest", "dvc", "matplotlib", "uv"} & names
