"""Every recipe, all stages, on a few synthetic radiographs at its input size (`make test-slow`).

Published weights are unavailable without a network connection, so networks are initialised randomly, and CLIP
is a small one in the hub's file format.
"""

import json
import time

import pytest

from cxr.recipes import apply_recipe, recipe_values, switch_to
from scripts import workspace
from tests.builders import ROOT, save_clip
from tests.repository import Repository

INPUT_SIZES = {"maxvit_decomposition": 224, "inception_frozen": 299, "efficientnet_two_phase": 160}
FEW = """\
download: {source: phantom}
phantom: {images: 60, classes: CLASSES}
split: {method: stratified, ratios: {train: TRAIN, val: 0.1, test: TEST}}
clip_embed: {dimensions: 8}
model: {weights: none, input_size: SIZE}
train: {members: 1, epochs: 1}
finetune: {epochs: FINETUNE}
evaluate: {bootstrap: 100}
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "recipes").glob("*.yaml"))])
def test_recipe_runs_end_to_end(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    values = recipe_values(name)
    save_clip(tmp_path / "mirror/openai/clip-vit-base-patch32")
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path / "mirror"))
    repository = Repository(tmp_path / "repository")
    workspace.copy_tracked(ROOT, repository.path)
    classes = 3 if values["download.source"] == "chest_xray_3class" else 2
    few = FEW.replace("CLASSES", str(classes)).replace("SIZE", str(INPUT_SIZES.get(name, "auto")))
    few = few.replace("FINETUNE", str(min(1, values["finetune.epochs"])))
    # A gallery of test needs eleven radiographs of it.
    train, test = ("0.7", "0.2") if values["index.gallery"] == "test" else ("0.85", "0.05")
    (tmp_path / "few.yaml").write_text(few.replace("TRAIN", train).replace("TEST", test))
    switch_to(name, repository.path / "params.yaml")
    apply_recipe(tmp_path / "few.yaml", repository.path / "params.yaml")
    start = time.monotonic()
    repository.run("dvc", "repro")
    seconds = time.monotonic() - start

    spec = json.loads((repository.path / "models/classifier.json").read_text())
    assert spec["backbone"] == values["model.backbone"]
    assert spec["input_size"] == INPUT_SIZES.get(name, values["download.size"])
    assert len(spec["outputs"]) == (3 if "decomposition" in name or classes == 3 else 2)
    metrics = json.loads((repository.path / "metrics/test.json").read_text())
    assert 0 <= metrics["accuracy"]["mean"] <= 1
    assert seconds < 180
