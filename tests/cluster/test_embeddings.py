"""Embeddings on two nodes of a Ray cluster (`make test-ray`). Slow, for actors take seconds to start."""

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
from cxr.embeddings.encoders import in_shards
from cxr.embeddings.encoders.embed import embed_dataset
from tests.builders import empty_mirror, noise_images, settings
from tests.cluster.nodes import COMPUTE

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
