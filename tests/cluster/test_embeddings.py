"""Embeddings on two nodes of a Ray cluster (`make test-ray`). Slow, for actors take seconds to start."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from cxr.core import dataset
from cxr.core.engine import ADDRESS
from cxr.core.files import write_npy
from cxr.embeddings import vectors
from cxr.embeddings.encoders import in_shards
from cxr.embeddings.encoders.embed import embed_dataset
from cxr.embeddings.vectors import embed_rows
from cxr.models import classifier
from cxr.params import load_params
from tests.builders import (
    empty_mirror,
    noise_images,
    save_classifier,
    settings,
    small_classifier,
    write_packed,
    write_params,
    write_tree,
)
from tests.cluster.nodes import COMPUTE, wait_for

pytestmark = pytest.mark.slow


def test_embeddings_in_shards_are_those_of_one_process(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = empty_mirror(tmp_path, monkeypatch) / "timm/test_resnet.r160_in1k"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), folder / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(in_shards, "SHARD", 128)
    write_npy(dataset.IMAGES, noise_images(300))
    images = np.load(dataset.IMAGES, mmap_mode="r")
    chosen = settings("clip_embed", encoder="timm:test_resnet", precision="float32")
    with monkeypatch.context() as patch:
        patch.delenv(ADDRESS)
        alone = embed_dataset(images, np.arange(0), chosen, COMPUTE)
    rmtree = in_shards.shutil.rmtree
    monkeypatch.setattr(in_shards.shutil, "rmtree", lambda folder, **_: None)
    assert embed_dataset(images, np.arange(0), chosen, COMPUTE).tobytes() == alone.tobytes()
    shards = sorted(Path(".resume").glob("*/shard_*.npy"))
    assert [len(np.load(shard)) for shard in shards] == [128, 128, 44]

    shards[1].unlink()  # as if killed
    write_npy(shards[2], np.zeros((44, alone.shape[1]), np.float32))  # kept as it is, not computed again
    monkeypatch.setattr(in_shards.shutil, "rmtree", rmtree)
    resumed = embed_dataset(images, np.arange(0), chosen, COMPUTE)
    assert "going on with 1 of 3 shards" in capsys.readouterr().out
    assert resumed[:256].tobytes() == alone[:256].tobytes()
    assert not resumed[256:].any()
    assert not list(Path(".resume").iterdir())


def test_features_of_the_stage_index_are_those_of_one_process(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of rows that are neither all nor in order, in several shards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(in_shards, "SHARD", 16)
    monkeypatch.setattr(vectors, "batch_size", lambda size: 16)
    monkeypatch.setattr(classifier, "batch_size", lambda size: 16)
    write_packed({"train": (20, 30), "val": (5, 5), "test": (5, 5)}, ["normal", "sick"])
    params = load_params(write_params(tmp_path, {"compute.threads": 1, "compute.device": "cpu"}))
    save_classifier(small_classifier())
    data = dataset.load_dataset()
    rows = data.rows("train")[::-1]
    for metric in ("cosine", "l2"):
        there = embed_rows("classifier", metric, data, rows, params, torch.device("cpu"))
        with monkeypatch.context() as patch:
            patch.delenv(ADDRESS)
            alone = embed_rows("classifier", metric, data, rows, params, torch.device("cpu"))
        assert there.values.tobytes() == alone.values.tobytes()
        assert there.source_sha256 == alone.source_sha256
    assert not list(Path(".resume").iterdir())


def test_original_files_are_embedded_to_the_same_bytes(
    cluster: Any, exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the driver is killed after a shard."""
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "films", *(f"{number:03}.png" for number in range(40)))
    (tmp_path / "films/broken.png").write_text("no image")
    limit = "import sys; from cxr.embeddings import vector_shards; vector_shards.FILES = 4; "
    command = [sys.executable, "-c", limit + "from cxr.cli import main; main()", "embed"]
    command += [(tmp_path / "films").as_uri(), "--model", str(exported_run), "--out"]
    with monkeypatch.context() as patch:
        patch.delenv(ADDRESS)
        subprocess.run([*command, "alone"], check=True)
    driver = subprocess.Popen([*command, "there"])
    wait_for(lambda: bool(list(Path("there").glob("shard_*.csv"))))
    driver.kill()
    driver.wait()
    time.sleep(2)
    done = {path: path.stat().st_mtime_ns for path in Path("there").glob("shard_*.npy")}
    said = subprocess.run([*command, "there"], check=True, capture_output=True, text=True).stdout
    assert "going on with" in said or len(done) == 11
    kept = [path for path, written in done.items() if path.stat().st_mtime_ns == written]
    assert kept
    for path in Path("alone").iterdir():
        assert (Path("there") / path.name).read_bytes() == path.read_bytes()
    assert len(list(Path("there").iterdir())) == len(list(Path("alone").iterdir()))
