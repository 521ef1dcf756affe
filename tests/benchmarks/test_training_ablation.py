"""The ablation with CLIP: its sub-classes, files of its own, a table that says if it was not run."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import training_ablation
from benchmarks.training_ablation import CLIP, Files, Strategy, measure, table
from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv, write_npy
from cxr.params import load_params
from tests.builders import ROOT, refused, save_clip, unreachable_hub, write_packed, write_params


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A data set of noise, embeddings of zeros, and an ablation of two strategies and two members."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path / "mirror"))
    unreachable_hub(tmp_path, monkeypatch)
    monkeypatch.setattr(training_ablation, "MEMBERS", 2)
    monkeypatch.setattr(training_ablation, "EPOCHS", 1)
    monkeypatch.setattr(
        training_ablation, "strategies", lambda data: [Strategy("none"), Strategy("decompose")]
    )
    write_packed({"train": (10, 20), "val": (4, 4), "test": (4, 4)}, ["normal", "sick"])
    write_npy("data/embeddings.npy", np.zeros((46, 3), np.float32))
    Path("docs").mkdir()
    write_params(
        tmp_path,
        {"compute.workers": 1, "compute.device": "cpu", "model.backbone": "small_cnn", "train.batch_size": 8},
    )
    return tmp_path


def test_sub_classes_are_those_of_clip(place):
    save_clip(place / "mirror" / CLIP)
    measure(CLIP)  # the zeros of data/embeddings.npy would be an error of k-means
    rows = read_csv(Path("docs/ablation_clip.csv"))
    assert [(row["strategy"], row["member"]) for row in rows] == [
        (name, str(member)) for member in (0, 1) for name in ("none", "decompose, majority, k=2")
    ]
    written = Path("docs/ablation_clip.md").read_text()
    assert "Written by `make ablation-clip`: 1 epochs, members 0 to 1" in written
    assert "| decompose, majority, k=2 |" in written
    assert not Path("docs/ablation.csv").exists()
    points = training_ablation.embedded(load_params(), load_dataset(), CLIP)
    assert points.shape == (46, 32)


def test_without_its_weights_it_is_an_error_and_the_table_says_so(place):
    with refused("clip_embed.encoder", CLIP, "CXR_MIRROR"):
        measure(CLIP)
    assert not Path("docs/ablation_clip.csv").exists()
    assert table(Files(clip=True)).startswith(f"Not run yet: the weights of `{CLIP}` were unavailable")


def test_committed_tables_are_those_of_the_committed_rows(monkeypatch):
    monkeypatch.chdir(ROOT)
    for clip in (False, True):
        files = Files(clip)
        assert files.table.read_text() == table(files)
