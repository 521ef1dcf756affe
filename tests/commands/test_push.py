"""`cxr push` writes what `cxr.load` reads, into a folder or to the hub, and nothing that shows a patient."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.numpy import load_file

import cxr
from cxr.core.files import sha256, write_json
from tests.builders import files_below, unreachable_hub
from tests.hub import Hub, serving_hub

NAME = "acme/cxr-small"
FILES = [
    "README.md",
    "calibration.json",
    "classifier.json",
    "classifier.onnx",
    "classifier.safetensors",
    "example.png",
    "metrics/export.json",
    "metrics/reliability.csv",
    "metrics/test.json",
    "typicality.safetensors",
]
CARD = """\
---
license: cc-by-4.0
pipeline_tag: image-classification
---

# Model card

![A radiograph of a patient](../plots/samples.png)

Weights {sha256}. See [the ledger](../docs/ledger.md), [cases](cases.md) and [DVC](https://dvc.org).
"""


@pytest.fixture
def release(run, exported_run, tmp_path):
    """`run` in a finished run."""
    for folder in ("models", "metrics"):
        shutil.copytree(exported_run / folder, folder)
    Path("reports").mkdir()
    text = CARD.format(sha256=sha256("models/classifier.safetensors"))
    Path("reports/model_card.md").write_text(text)
    return run


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    monkeypatch.delenv("CXR_MIRROR", raising=False)
    with serving_hub(monkeypatch) as server:
        server.token = "hf_write"
        yield server


def test_a_dry_run_is_a_folder_that_predict_reads(release):
    code, out, err = release("push", NAME, "--dry-run", "out/folder")
    assert (code, err) == (0, [])
    assert files_below(Path("out")) == [f"folder/{name}" for name in FILES]
    assert [line.split()[-1] for line in out[:-1]] == [f"out/folder/{name}" for name in FILES]
    for name in ("classifier.onnx", "classifier.safetensors"):
        assert sha256(f"out/folder/{name}") == sha256(f"models/{name}")
    assert any(name.startswith("members.0.") for name in load_file("out/folder/classifier.safetensors"))
    by_run, by_folder = (
        release("predict", "out/folder/example.png", "--model", model)[1] for model in (".", "out/folder")
    )
    assert by_folder == by_run
    assert out[-1] == "Nothing was uploaded. `cxr predict --model out/folder` reads it."


def test_the_card_keeps_its_head_and_loses_what_points_into_the_repository(release):
    release("push", NAME, "--dry-run", "folder")
    card = ModelCard.load("folder/README.md")
    assert (card.data.license, card.data.pipeline_tag) == ("cc-by-4.0", "image-classification")
    assert "See the ledger, cases and [DVC](https://dvc.org)." in card.text
    assert "radiograph of a patient" not in card.text
    assert f'cxr.load("{NAME}")' in card.text
    model = cxr.load("folder")
    assert model.card == Path("folder/README.md").read_text()
    (predicted,) = model.predict(["folder/example.png"])
    named = re.search(r"^    \('(\w+)', ([\d.]+)\)$", card.text, re.M)
    assert named
    assert predicted.decision == named[1]
    assert predicted.probabilities[named[1]] == pytest.approx(float(named[2]), abs=5e-4)
    example = np.asarray(Image.open("folder/example.png"))
    assert example.shape == (224, 224)
    assert example.std() > 20


def test_what_is_pushed_can_be_loaded_from_the_hub(release, hub: Hub):
    """Twice: the second push replaces the files of the first."""
    for _ in range(2):
        code, out, err = release("push", NAME)
        assert (code, err) == (0, [])
        assert out[0] == f"{hub.url}/{NAME}/commit/0123456789abcdef0123456789abcdef01234567"
    assert (hub.repository, sorted(hub.files), hub.uploaded) == (NAME, FILES, {})
    assert hub.files["classifier.onnx"] == Path("models/classifier.onnx").read_bytes()
    Path("example.png").write_bytes(hub.files["example.png"])
    loaded, here = cxr.load(NAME), cxr.load(".")
    assert loaded.predict(["example.png"]) == here.predict(["example.png"])
    assert loaded.card
    assert loaded.card.encode() == hub.files["README.md"]
    code, out, _ = release("predict", "example.png", "--model", f"{NAME}@main")
    assert (code, out) == (0, release("predict", "example.png")[1])
    assert (loaded.home / "metrics/test.json").is_file()  # with which `cxr validate` compares


@pytest.mark.parametrize("who", ["nobody", "a reader", "offline"])
def test_a_hub_that_refuses_is_one_line(release, hub: Hub, monkeypatch, tmp_path, who):
    if who == "nobody":
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    elif who == "a reader":
        monkeypatch.setenv("HF_TOKEN", "hf_read")
    else:
        unreachable_hub(tmp_path, monkeypatch)
    code, out, err = release("push", NAME)
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith(f"error: {NAME}: not uploaded to http://127.0.0.1:")
    assert "`hf auth login` or HF_TOKEN" in err[0]
    assert hub.files == {}


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ("models/typicality.safetensors", "no such file, and a release needs it; run `dvc repro`"),
        ("models/classifier.safetensors", "was exported from other weights than models/classifier.safe"),
        ("metrics/export.json", "metrics/export.json describes another file than models/classifier.onnx"),
        (
            "reports/model_card.md",
            "reports/model_card.md: missing, or of other weights; run `dvc repro card`",
        ),
    ],
)
def test_an_incomplete_run_is_not_pushed(release, broken, error):
    if broken.endswith("typicality.safetensors"):
        Path(broken).unlink()
    elif broken.endswith(".json"):
        write_json(broken, {"sha256": "0" * 64})
    else:
        Path(broken).write_bytes(b"of another run")
    before = files_below(Path())
    code, out, err = release("push", NAME, "--dry-run", "folder")
    assert (code, out, len(err)) == (1, [], 1)
    assert error in err[0]
    assert files_below(Path()) == before


def test_a_mistake_in_the_arguments_is_one_line(release):
    for name in ("cxr", "a/b/c", "acme/"):
        assert release("push", name) == (
            1,
            [],
            [f"error: {name}: not of the form ORG/NAME, such as my-lab/chest-x-ray"],
        )
    Path("taken").mkdir()
    assert release("push", NAME, "--dry-run", "taken") == (
        1,
        [],
        ["error: --dry-run taken: exists already; name a new folder"],
    )
