"""timm's models as encoders; that the features are timm's: tests/benchmarks/test_embeddings_encoders.py."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cxr.embeddings.encoders.embed import embed_dataset
from cxr.models.encoders.load import load_encoder
from tests.builders import empty_mirror, noise_images, refused, settings, unreachable_hub


@pytest.fixture(autouse=True)
def mirror(tmp_path, monkeypatch):
    """An empty mirror; neither cache nor hub is reachable."""
    folder = empty_mirror(tmp_path, monkeypatch)
    unreachable_hub(tmp_path, monkeypatch)
    return folder


def embedded(encoder):
    chosen = settings("clip_embed", encoder=encoder, precision="float32")
    return embed_dataset(noise_images(2), np.arange(0), chosen, settings("compute", device="cpu", threads=1))


def test_an_unknown_name_is_an_error_that_names_the_nearest():
    with refused("params.yaml: clip_embed.encoder is timm:resnet51", "nearest: resnet5"):
        embedded("timm:resnet51")


def test_a_model_without_weights_is_an_error():
    with refused("clip_embed.encoder is timm:vit_base_patch16_18x2_224", "timm has no weights for it"):
        embedded("timm:vit_base_patch16_18x2_224")


def test_unavailable_and_unfit_weights_are_an_error(mirror):
    with refused("clip_embed.encoder is timm:test_resnet", "timm/test_resnet.r160_in1k", "CXR_MIRROR"):
        embedded("timm:test_resnet")
    folder = mirror / "timm/test_resnet.r160_in1k"
    folder.mkdir(parents=True)
    save_file({"conv1.weight": torch.zeros(3)}, folder / "model.safetensors")
    with refused("clip_embed.encoder is timm:test_resnet", "cannot be used as its weights"):
        load_encoder(settings("clip_embed", encoder="timm:test_resnet"))
