"""torchvision's classifiers: random weights under a published name, against torchvision's own code."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models

from cxr.embeddings.encoders.embed import embed_dataset
from cxr.models.encoders import encoder as encoder_module
from cxr.models.encoders import torchvision_features
from cxr.models.encoders.torchvision_features import load_torchvision
from cxr.models.torchvision_models import torchvision_architecture
from tests.builders import empty_mirror, noise_images, published, refused, settings


@pytest.fixture(autouse=True)
def mirror(tmp_path, monkeypatch):
    """An empty mirror, an empty cache, small batches."""
    folder = empty_mirror(tmp_path, monkeypatch)
    monkeypatch.setattr(encoder_module, "BATCH", 4)
    return folder


def embedded(images, encoder, precision="float32"):
    chosen = settings("clip_embed", encoder=encoder, precision=precision)
    return embed_dataset(images, np.arange(0), chosen, settings("compute", device="cpu", threads=1))


def by_the_library(images, name, model, last):
    """torchvision's own code, an image at a time; a hook records the input of the `last` layer."""
    recorded = []
    last.register_forward_pre_hook(lambda _, inputs: recorded.append(inputs[0][0]))
    prepare = models.get_model_weights(name).DEFAULT.transforms()
    with torch.inference_mode():
        for image in images:
            model(prepare(Image.fromarray(image).convert("RGB")).unsqueeze(0))
    return np.stack([(x if x.ndim == 1 else x.mean(dim=(1, 2))).numpy() for x in recorded])


@pytest.mark.parametrize(
    ("name", "last", "dimensions"),
    [
        ("squeezenet1_1", "classifier.1", 512),
        ("shufflenet_v2_x0_5", "fc", 1024),
        ("mnasnet0_5", "classifier.1", 1280),
        ("googlenet", "fc", 1024),
    ],
)
def test_equals_torchvision_one_image_at_a_time(mirror, monkeypatch, name, last, dimensions):
    # GoogLeNet's weights need another scaling of the input.
    options = {"init_weights": False, "transform_input": True} if name == "googlenet" else {}
    model, _ = published(name, mirror, monkeypatch, **options)
    images = noise_images(6, 28)  # one batch and two images
    expected = by_the_library(images, name, model, model.get_submodule(last))
    embeddings = embedded(images, f"torchvision:{name}")
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (6, dimensions)
    scale = abs(expected).max()
    np.testing.assert_allclose(embeddings / scale, expected / scale, rtol=0, atol=1e-6)  # measured: 2.7e-7


def test_bf16_is_close_to_float32(mirror, monkeypatch):
    published("squeezenet1_1", mirror, monkeypatch)
    images = noise_images(5, 28)
    exact = embedded(images, "torchvision:squeezenet1_1")
    rounded = embedded(images, "torchvision:squeezenet1_1", "bf16")
    cosine = (exact * rounded).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
    assert not np.array_equal(rounded, exact)
    assert cosine.min() > 0.999


def test_every_preset_has_a_preparation():
    """torchvision's classifiers share one class of transforms, with a size and a crop."""
    for name in models.list_models(module=models):
        preset = models.get_model_weights(name).DEFAULT.transforms()
        preparation = torchvision_features._preparation(preset, torchvision_architecture(name).published)
        side = preset.crop_size[0]
        assert preparation(torch.zeros(1, 28, 28, dtype=torch.uint8), torch.device("cpu")).shape[2:] == (
            side,
            side,
        )


def test_an_unknown_name_is_an_error_that_names_the_nearest():
    with refused("params.yaml: clip_embed.encoder is torchvision:resnet19", "nearest: resnet18"):
        embedded(noise_images(2), "torchvision:resnet19")
    with refused("clip_embed.encoder is torchvision:fasterrcnn_resnet50_fpn", "no such classifier"):
        embedded(noise_images(2), "torchvision:fasterrcnn_resnet50_fpn")


def test_unavailable_weights_are_an_error(mirror, monkeypatch):
    _, path = published("squeezenet1_1", mirror, monkeypatch)
    path.rename(mirror / "squeezenet1_1-other.pth")
    with refused(
        "params.yaml: clip_embed.encoder is torchvision:squeezenet1_1",
        f"http://127.0.0.1:9/models/{path.name} is not available",
        f"it is not in CXR_MIRROR={mirror} either",
        f"go online, or download {path.name} elsewhere and set CXR_MIRROR to its folder",
    ):
        embedded(noise_images(2), "torchvision:squeezenet1_1")


def test_altered_weights_are_an_error(mirror, monkeypatch):
    _, path = published("squeezenet1_1", mirror, monkeypatch)
    path.write_bytes(path.read_bytes() + b"!")
    with refused("clip_embed.encoder is torchvision:squeezenet1_1", str(path), "has sha256", "replace it by"):
        embedded(noise_images(2), "torchvision:squeezenet1_1")


def test_weights_that_do_not_fit_are_an_error(mirror, monkeypatch):
    _, path = published("squeezenet1_1", mirror, monkeypatch)
    weights = models.get_model_weights("shufflenet_v2_x0_5").DEFAULT
    monkeypatch.setattr(weights.value, "url", f"http://127.0.0.1:9/models/{path.name}")
    with refused("clip_embed.encoder is torchvision:shufflenet_v2_x0_5", "cannot be used as its weights"):
        embedded(noise_images(2), "torchvision:shufflenet_v2_x0_5")


def test_last_layer_is_the_classification_layer(mirror, monkeypatch):
    """Not an auxiliary one, which GoogLeNet and Inception have besides."""
    model, _ = published("googlenet", mirror, monkeypatch, init_weights=False)
    encoder = load_torchvision("googlenet")
    assert isinstance(encoder.model.fc, nn.Identity)
    assert encoder.dimensions == model.fc.in_features
