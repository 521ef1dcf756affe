"""Many classes: a tiny OrganAMNIST, with its 11 classes, through every stage."""

import hashlib
import shutil
from pathlib import Path

import medmnist
import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from cxr.core.files import read_json
from tests.builders import ROOT, write_params
from tests.repository import Repository

NAME = "organamnist"
CLASSES = list(medmnist.INFO[NAME]["label"].values())
COUNTS = {"train": 8, "val": 4, "test": 4}


def write_edition(path: Path) -> str:
    """An npz as published, of noise whose brightness tells the class; returns its md5."""
    generator, arrays = np.random.default_rng(0), {}
    for split, count in COUNTS.items():
        labels = np.tile(np.arange(len(CLASSES), dtype=np.uint8), count)
        images = generator.normal(20 * labels[:, None, None] + 25, 15, (len(labels), 28, 28))
        arrays |= {
            f"{split}_images": images.clip(0, 255).astype(np.uint8),
            f"{split}_labels": labels[:, None],
        }
    np.savez(path, **arrays)
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.slow  # a minute for figures of 11 classes; three go through every stage in test_pipeline.py
def test_eleven_classes_go_through_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path))
    counts = {split: count * len(CLASSES) for split, count in COUNTS.items()}
    changes = {"n_samples": counts, "MD5": write_edition(tmp_path / f"{NAME}.npz")}
    monkeypatch.setitem(medmnist.INFO, NAME, medmnist.INFO[NAME] | changes)
    write_params(
        tmp_path,
        {"download.source": f"medmnist:{NAME}", "clip_embed.dimensions": 8, "evaluate.bootstrap": 100}
        | {"cluster.classes": "all", "imbalance.strategy": "both", "report.cases": 2}
        | {"train.members": 2, "train.epochs": 2, "train.batch_size": 16}
        | {"compute.workers": 1, "compute.device": "cpu"},
    )
    shutil.copytree(ROOT / "prompts", "prompts")
    Path("docs").mkdir()
    shutil.copy(ROOT / "docs/test_ledger.yaml", "docs")
    Repository(tmp_path).run_stages(*YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])
    test = read_json("metrics/test.json")
    assert test["majority_baseline"] == pytest.approx(1 / len(CLASSES), abs=1e-6)
    assert 0 <= test["auc_ovr_macro"]["ensemble"] <= 1
    card = Path("reports/model_card.md").read_text()
    for name in CLASSES:
        assert f"| {name} |" in card
    assert "pneumonia" not in card.lower().replace("pneumoniamnist", "")
    tables = [line for line in Path("reports/cases.md").read_text().splitlines() if line.startswith("|")]
    assert max(line.count("|") for line in tables) <= 11
    for path in Path("plots").glob("*.png"):
        with Image.open(path) as image:
            assert max(image.size) < 6000
