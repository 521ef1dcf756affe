"""OpenCLIP: a tiny model in open_clip's own registry and format, against open_clip's own code."""

import hashlib
import json

import numpy as np
import open_clip
import pytest
import torch
from open_clip import factory, pretrained
from PIL import Image
from safetensors.torch import save_file

from cxr.embeddings.encoders.embed import embed_dataset
from cxr.models.encoders import encoder as encoder_module
from cxr.models.encoders import openclip_models
from tests.builders import noise_images, refused, settings, unreachable_hub

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1},
}
TAG = {
    "hf_hub": "acme/tiny/",
    "mean": (0.4, 0.5, 0.6),
    "std": (0.2, 0.3, 0.4),
    "interpolation": "bilinear",
    "resize_mode": "squash",
}


@pytest.fixture(autouse=True)
def mirror(tmp_path, monkeypatch):
    """open_clip lists `tiny/images`, the mirror holds its weights; neither cache nor hub is reachable."""
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", list(factory._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    (tmp_path / "tiny.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(tmp_path / "tiny.json")
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"images": TAG})

    torch.manual_seed(0)
    folder = tmp_path / "mirror" / "acme" / "tiny"
    folder.mkdir(parents=True)
    save_file(open_clip.create_model("tiny").state_dict(), folder / "open_clip_model.safetensors")
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setattr(encoder_module, "BATCH", 8)
    monkeypatch.setattr(openclip_models, "CACHE", tmp_path / "cache")
    unreachable_hub(tmp_path, monkeypatch)
    return tmp_path / "mirror"


def embedded(images, encoder="open_clip:tiny/images", precision="float32"):
    chosen = settings("clip_embed", encoder=encoder, precision=precision)
    return embed_dataset(images, np.arange(0), chosen, settings("compute", device="cpu", threads=1))


def by_the_library(images, path, monkeypatch, **changes):
    """open_clip's own code, an image at a time; its registry has the file at `path` for another tag."""
    monkeypatch.setitem(pretrained._PRETRAINED["tiny"], "at_hand", TAG | {"file": str(path)} | changes)
    model, _, preprocess = open_clip.create_model_and_transforms("tiny", "at_hand")
    model.eval()
    with torch.inference_mode():
        inputs = [preprocess(Image.fromarray(image)).unsqueeze(0) for image in images]
        return torch.cat([model.encode_image(pixels) for pixels in inputs]).numpy()


@pytest.mark.parametrize("changes", [{}, {"interpolation": "bicubic", "resize_mode": "shortest"}])
def test_equals_open_clip_one_image_at_a_time(mirror, monkeypatch, changes):
    images = noise_images(19, 28)
    expected = by_the_library(
        images, mirror / "acme/tiny/open_clip_model.safetensors", monkeypatch, **changes
    )
    monkeypatch.setitem(pretrained._PRETRAINED["tiny"], "images", TAG | changes)
    embeddings = embedded(images)
    assert embeddings.shape == (19, 16)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, expected, rtol=0, atol=2e-6)  # measured: 8.3e-7


def test_bf16_is_close_to_float32():
    images = noise_images(19, 28)
    exact, rounded = embedded(images), embedded(images, precision="bf16")
    cosine = (exact * rounded).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
    assert not np.array_equal(rounded, exact)
    assert cosine.min() > 0.999


def test_file_of_the_url_is_found_by_its_name_and_checked(mirror, monkeypatch):
    files = [mirror / "acme/tiny/open_clip_pytorch_model.bin", mirror / "checkpoint.pt"]
    expected = embedded(noise_images(3))
    state = open_clip.create_model("tiny").state_dict()
    torch.save({"epoch": 1, "state_dict": state}, files[1])
    sha256 = hashlib.sha256(files[1].read_bytes()).hexdigest()
    # The two ways in which the publishers state a hash.
    for url in (
        f"https://openaipublic.azureedge.net/{sha256}/weights.pt",
        f"https://github.com/mlfoundations/weights-{sha256[:8]}.pt",
    ):
        named = mirror / url.split("/")[-1]
        named.write_bytes(files[1].read_bytes())
        monkeypatch.setitem(pretrained._PRETRAINED["tiny"], "images", TAG | {"url": url})
        assert not np.array_equal(embedded(noise_images(3)), expected)  # these weights, not the folder's
        named.write_bytes(b"other")
        with refused("clip_embed.encoder is open_clip:tiny/images", str(named), f"not {sha256[:8]}"):
            embedded(noise_images(3))


def test_activation_is_the_weights_own(mirror, monkeypatch):
    """open_clip gives `ViT-B-32/openai` the activation of the architecture's name and only warns."""
    plain = embedded(noise_images(3))
    monkeypatch.setitem(pretrained._PRETRAINED["tiny"], "images", TAG | {"quick_gelu": True})
    quick = embedded(noise_images(3))
    path = mirror / "acme/tiny/open_clip_model.safetensors"
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", CONFIG | {"quick_gelu": True})
    expected = by_the_library(noise_images(3), path, monkeypatch, quick_gelu=True)
    np.testing.assert_allclose(quick, expected, rtol=0, atol=2e-6)
    assert abs(quick - plain).max() > 1e-4


def test_unknown_names_are_an_error_that_names_the_nearest():
    with refused("params.yaml: clip_embed.encoder is open_clip:ViT-B32/openai", "nearest: ViT-B-32"):
        embedded(noise_images(2), "open_clip:ViT-B32/openai")
    with refused("clip_embed.encoder is open_clip:ViT-B-32/laion2b", "nearest: laion2b_e16"):
        embedded(noise_images(2), "open_clip:ViT-B-32/laion2b")


def test_unavailable_weights_are_an_error(mirror):
    (mirror / "acme/tiny/open_clip_model.safetensors").unlink()
    with refused(
        "params.yaml: clip_embed.encoder is open_clip:tiny/images",
        "acme/tiny is not available from the Hugging Face hub",
        "go online",
        "`hf download acme/tiny --local-dir FOLDER/acme/tiny`",
        "CXR_MIRROR",
    ):
        embedded(noise_images(2))


def test_weights_that_do_not_fit_are_an_error(mirror):
    path = mirror / "acme/tiny/open_clip_model.safetensors"
    save_file({"visual.proj": torch.zeros(3)}, path)
    with refused("clip_embed.encoder is open_clip:tiny/images", str(path), "cannot be used as its weights"):
        embedded(noise_images(2))
    path.write_bytes(b"torn")
    with refused("clip_embed.encoder is open_clip:tiny/images", "replace it by the published file"):
        embedded(noise_images(2))


@pytest.fixture
def biomedical(mirror):
    """A repository of the hub in open_clip's format; its text tower is in another one, which is not here."""
    folder = mirror / "acme/biomedical"
    folder.mkdir()
    text = {"hf_model_name": "acme/text", "hf_tokenizer_name": "acme/text"}
    preprocess = {"mean": TAG["mean"], "std": TAG["std"]}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": CONFIG | {"text_cfg": text}, "preprocess_cfg": preprocess})
    )
    (folder / "open_clip_model.safetensors").write_bytes(
        (mirror / "acme/tiny/open_clip_model.safetensors").read_bytes()
    )
    return folder


HUB = "open_clip:hf-hub:acme/biomedical"


def test_a_repository_of_the_hub_needs_no_text_tower(biomedical, mirror, monkeypatch):
    path = mirror / "acme/tiny/open_clip_model.safetensors"
    expected = by_the_library(noise_images(5), path, monkeypatch, interpolation="bicubic")
    np.testing.assert_allclose(embedded(noise_images(5), HUB), expected, rtol=0, atol=2e-6)


def test_a_repository_of_the_hub_is_of_a_revision(biomedical):
    note = biomedical / ".cache/huggingface/download/open_clip_model.safetensors.metadata"
    note.parent.mkdir(parents=True)
    note.write_text("f" * 40 + "\netag\n1.0\n")
    with refused(f"clip_embed.encoder is {HUB}", f"commit {'f' * 40}", "clip_embed.revision"):
        embedded(noise_images(2), HUB)


def test_a_repository_without_settings_is_an_error(biomedical):
    (biomedical / "open_clip_config.json").write_text("{}")
    with refused(f"clip_embed.encoder is {HUB}", "open_clip_config.json", "model_cfg"):
        embedded(noise_images(2), HUB)
    (biomedical / "open_clip_config.json").unlink()
    with refused(f"clip_embed.encoder is {HUB}", "open_clip_config.json"):
        embedded(noise_images(2), HUB)
