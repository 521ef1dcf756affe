"""CLIP is one flag away: the command of docs/experiments.md, from download to card, with a small CLIP in the
hub's file format in place of the published one, which is unavailable without a network connection."""

import numpy as np
import pytest

from cxr.core.files import read_json
from cxr.recipes import apply_recipe
from scripts import workspace
from tests.builders import ROOT, save_clip
from tests.repository import Repository

CLIP = "openai/clip-vit-base-patch32"
FLAGS = ["-S", f"clip_embed.encoder={CLIP}", "-S", "imbalance.strategy=both"]
FEW = """\
download: {source: phantom}
phantom: {images: 60}
split: {method: stratified, ratios: {train: 0.8, val: 0.1, test: 0.1}}
model: {backbone: small_cnn}
train: {members: 1, epochs: 1, batch_size: 16}
evaluate: {bootstrap: 100}
"""


@pytest.mark.slow
def test_clip_is_one_flag_away(tmp_path, monkeypatch):
    save_clip(tmp_path / "mirror" / CLIP)
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path / "mirror"))
    repository = Repository(tmp_path / "repository")
    workspace.copy_tracked(ROOT, repository.path)
    (tmp_path / "few.yaml").write_text(FEW)
    apply_recipe(tmp_path / "few.yaml", repository.path / "params.yaml")
    workspace.commit(repository.path, "few synthetic radiographs")
    repository.run("dvc", "exp", "run", *FLAGS)

    assert np.load(repository.path / "data/embeddings.npy").shape == (60, 32)
    clusters = read_json(repository.path / "metrics/cluster.json")
    (split_class,) = clusters
    spec = read_json(repository.path / "models/classifier.json")
    assert spec["outputs"].count(f"{split_class}_0") == spec["outputs"].count(f"{split_class}_1") == 1
    assert len(spec["outputs"]) == 3
    assert spec["classes"] == ["normal", "pneumonia"]
    card = (repository.path / "reports/model_card.md").read_text()
    assert "Encoder (`clip_embed`)" in card
    assert "The networks are trained on the sub-classes" in card


def test_the_page_of_experiments_starts_with_this_command():
    lines = (ROOT / "docs/experiments.md").read_text().splitlines()
    commands = [line for line in lines if "imbalance.strategy=" in line]
    assert commands[0].strip() == f"dvc exp run --temp {' '.join(FLAGS)}"
