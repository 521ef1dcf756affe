"""Vision models of the Hugging Face hub: tiny ones in its own file format, against transformers' own code.
Other architectures than CLIP: tests/benchmarks/test_embeddings_encoders.py."""

import copy
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    ConvNextImageProcessor,
    Siglip2Config,
    Siglip2Model,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from cxr.core.dataset import load_dataset
from cxr.embeddings.encoders.embed import embed_dataset
from cxr.models.encoders import encoder as encoder_module
from cxr.models.encoders.huggingface import load_huggingface
from stages import clip_embed
from tests.builders import (
    files_below,
    noise_images,
    refused,
    settings,
    unreachable_hub,
    write_packed,
    write_params,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50,
}


def save_processor(folder, resample=Image.Resampling.BILINEAR):
    """Settings that differ from CLIP's defaults; the crop leaves an odd margin."""
    CLIPImageProcessor(
        size={"shortest_edge": 35},
        crop_size={"height": 32, "width": 32},
        resample=resample,
        image_mean=[0.4, 0.5, 0.6],
        image_std=[0.2, 0.3, 0.4],
    ).save_pretrained(folder)


@pytest.fixture(autouse=True)
def mirror(tmp_path, monkeypatch):
    """A mirror with acme/tiny, small batches; neither cache nor hub is reachable."""
    torch.manual_seed(0)
    folder = tmp_path / "mirror" / "acme" / "tiny"
    CLIPVisionModel(CLIPVisionConfig(**VISION)).save_pretrained(folder)
    save_processor(folder)
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setattr(encoder_module, "BATCH", 8)
    unreachable_hub(tmp_path, monkeypatch)
    return tmp_path / "mirror"


def embedded(images, encoder="acme/tiny", **changes):
    changes = {"precision": "float32", "revision": COMMIT, **changes}
    chosen = settings("clip_embed", encoder=encoder, **changes)
    return embed_dataset(images, np.arange(0), chosen, settings("compute", device="cpu", threads=1))


def by_the_library(images, folder, processor, output="pooler_output"):
    """transformers' own code, an image at a time."""
    network = CLIPVisionModel if output == "pooler_output" else ViTModel
    model, processor = network.from_pretrained(folder), processor.from_pretrained(folder)
    rows = []
    with torch.inference_mode():
        for image in images:
            inputs = processor(images=Image.fromarray(image).convert("RGB"), return_tensors="pt")
            rows.append(model(**inputs)[output][0].numpy())
    return np.stack(rows)


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize(
    ("processor", "resample", "tolerance"),
    [
        (CLIPImageProcessor, "BILINEAR", 2e-6),  # measured: 4.8e-7
        (CLIPImageProcessor, "BICUBIC", 2e-6),  # measured: 4.8e-7
        (CLIPImageProcessorPil, "BILINEAR", 2e-6),  # measured: 7.2e-7
        # PIL's bicubic rounds one grey level in 2,000 to its neighbour.
        (CLIPImageProcessorPil, "BICUBIC", 2e-3),  # measured: 1.0e-3, on features of about 0.8
    ],
)
def test_equals_transformers_one_image_at_a_time(mirror, processor, resample, tolerance):
    save_processor(mirror / "acme/tiny", Image.Resampling[resample])
    images = noise_images(19, 28)  # two batches and three images
    expected = by_the_library(images, mirror / "acme/tiny", processor)
    embeddings = embedded(images)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, expected, rtol=0, atol=tolerance)


def test_a_whole_clip_in_torchs_format_gives_its_vision_tower(mirror):
    """The layout of openai/clip-vit-base-patch32: both towers, and no safetensors."""
    model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION))
    folder = mirror / "whole"  # <model>/ without <org>/ is found as well
    folder.mkdir()
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    save_processor(folder)
    images = noise_images(5, 28)
    expected = by_the_library(images, folder, CLIPImageProcessor)
    np.testing.assert_allclose(embedded(images, "acme/whole"), expected, rtol=0, atol=2e-6)


def test_half_precision_weights_are_computed_in_float32(mirror):
    folder = mirror / "acme/half"
    CLIPVisionModel.from_pretrained(mirror / "acme/tiny").half().save_pretrained(folder)
    save_processor(folder)
    images = noise_images(3, 28)
    assert cosines(embedded(images, "acme/half"), embedded(images)).min() > 0.99999


def test_bf16_is_close_to_float32():
    images = noise_images(19, 28)
    exact, rounded = embedded(images), embedded(images, precision="bf16")
    assert rounded.dtype == np.float32
    assert not np.array_equal(rounded, exact)
    assert cosines(rounded, exact).min() > 0.999


def test_images_that_are_not_square_are_an_error():
    with refused("images are 28 x 30 pixels", "clip_embed.encoder"):
        embedded(np.zeros((3, 28, 30), np.uint8))


class RecordingImages:
    """Images that can be read in slices only; `longest` is the length of the longest slice."""

    def __init__(self, images):
        self.images, self.shape, self.longest = images, images.shape, 0

    def __getitem__(self, rows):
        self.longest = max(self.longest, len(self.images[rows]))
        return self.images[rows]


def test_never_more_than_a_batch_in_memory(monkeypatch):
    images = RecordingImages(noise_images(50, 28))
    encoder = load_huggingface("acme/tiny", COMMIT, "auto")
    monkeypatch.setattr("cxr.models.encoders.load.load_encoder", lambda _: copy.deepcopy(encoder))
    prepared = []
    prepare = encoder_module.Preparation.__call__
    monkeypatch.setattr(
        encoder_module.Preparation, "__call__", lambda *args: prepared.append(prepare(*args)) or prepared[-1]
    )
    assert np.array_equal(embedded(images), embedded(images.images))
    assert images.longest == 8
    assert {pixels.shape[0] for pixels in prepared} == {8, 2}


def test_stage_writes_the_embeddings_or_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (20, 30), "val": (5, 5), "test": (5, 5)}, ["normal", "sick"])
    chosen = {"clip_embed.revision": COMMIT, "clip_embed.precision": "float32", "compute.threads": 1}
    write_params(tmp_path, chosen | {"clip_embed.encoder": "acme/absent"})
    before = files_below(tmp_path)
    with refused("clip_embed.encoder is acme/absent"):
        clip_embed.main()
    assert files_below(tmp_path) == before

    write_params(tmp_path, chosen | {"clip_embed.encoder": "acme/tiny", "compute.device": "cpu"})
    clip_embed.main()
    assert np.array_equal(np.load("data/embeddings.npy"), embedded(load_dataset().images))


def test_a_model_that_takes_no_images_is_an_error(mirror):
    BertModel(
        BertConfig(
            vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        )
    ).save_pretrained(mirror / "acme/bert")
    save_processor(mirror / "acme/bert")
    with refused("params.yaml: clip_embed.encoder is acme/bert", "type bert", "not images"):
        embedded(noise_images(2), "acme/bert")


def test_patches_of_varying_number_are_an_error(mirror):
    vision = {key: value for key, value in VISION.items() if key != "image_size"}
    config = Siglip2Config(vision_config=vision, text_config=TEXT | {"projection_size": 16})
    Siglip2Model(config).save_pretrained(mirror / "acme/naflex")
    with refused("params.yaml: clip_embed.encoder is acme/naflex", "type siglip2", "not images of one size"):
        embedded(noise_images(2), "acme/naflex")


def test_pooling_is_that_of_params(mirror):
    images = noise_images(5, 28)
    folder = mirror / "acme/tiny"
    model, processor = CLIPVisionModel.from_pretrained(folder), CLIPImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        inputs = [
            processor(images=Image.fromarray(x).convert("RGB"), return_tensors="pt")["pixel_values"]
            for x in images
        ]
        output = model(torch.cat(inputs))
    tokens = output.last_hidden_state
    expected = {"pooler": output.pooler_output, "cls": tokens[:, 0], "mean": tokens[:, 1:].mean(dim=1)}
    for pooling, values in expected.items():
        embeddings = embedded(images, pooling=pooling)
        np.testing.assert_allclose(embeddings, values, rtol=0, atol=2e-6, err_msg=pooling)


def test_a_class_token_that_the_model_lacks_is_an_error(mirror):
    SiglipVisionModel(SiglipVisionConfig(**VISION)).save_pretrained(mirror / "acme/siglip")
    save_processor(mirror / "acme/siglip")
    with refused("params.yaml: clip_embed.pooling is cls", "siglip_vision_model has no class token", "mean"):
        embedded(noise_images(2), "acme/siglip", pooling="cls")


def test_vit_without_a_pooler_gives_its_class_token(mirror):
    """As google/vit-base-patch16-224 is published; transformers would invent a pooler."""
    torch.manual_seed(1)
    folder = mirror / "acme/vit"
    model = ViTModel(ViTConfig(**VISION), add_pooling_layer=False).eval()
    model.save_pretrained(folder)
    save_processor(folder)
    expected = by_the_library(noise_images(3), folder, CLIPImageProcessor, "last_hidden_state")[:, 0]
    np.testing.assert_allclose(embedded(noise_images(3), "acme/vit"), expected, rtol=0, atol=2e-6)
    with refused("params.yaml: clip_embed.encoder is acme/vit", "lacks weights", "pooler.dense"):
        embedded(noise_images(2), "acme/vit", pooling="pooler")


def test_a_processor_that_does_more_is_an_error(mirror):
    """ConvNeXt's enlarges small images before the crop, by a setting of its own."""
    ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.5).save_pretrained(mirror / "acme/tiny")
    with refused("clip_embed.encoder is acme/tiny", "ConvNextImageProcessor", "does more to an image"):
        embedded(noise_images(2))


def test_code_of_the_repository_is_not_run(mirror):
    folder = mirror / "acme/tiny"
    (folder / "code.py").write_text("import os; os.mkdir(os.environ['CXR_MIRROR'] + '/harm')")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "code.Own", "AutoModel": "code.Own"}})
    )
    with refused("clip_embed.encoder is acme/tiny", "cannot be used as its weights"):
        embedded(noise_images(2))
    assert not (mirror / "harm").exists()


def test_missing_weights_are_an_error(mirror):
    model = CLIPVisionModel(CLIPVisionConfig(**VISION))
    state = {name: value for name, value in model.state_dict().items() if "post_layernorm" not in name}
    model.save_pretrained(mirror / "acme/tiny", state_dict=state)
    with refused("params.yaml: clip_embed.encoder is acme/tiny", "lacks weights", "post_layernorm.bias"):
        embedded(noise_images(2))


def test_weights_of_another_shape_are_an_error(mirror):
    CLIPVisionConfig(**VISION | {"hidden_size": 64}).save_pretrained(mirror / "acme/tiny")
    with refused("params.yaml: clip_embed.encoder is acme/tiny", "cannot be used as its weights"):
        embedded(noise_images(2))


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_broken_and_missing_files_are_an_error(mirror, name):
    path = mirror / "acme/tiny" / name
    path.write_bytes(path.read_bytes()[:40])
    with refused("params.yaml: clip_embed.encoder is acme/tiny", "replace it by the published file"):
        embedded(noise_images(2))
    path.unlink()
    with refused("params.yaml: clip_embed.encoder is acme/tiny"):
        embedded(noise_images(2))


class Harmful:
    def __reduce__(self):
        return os.mkdir, (os.environ["CXR_MIRROR"] + "/harm",)


def test_pickled_code_is_not_run(mirror):
    (mirror / "acme/tiny/model.safetensors").unlink()
    torch.save({"x": Harmful()}, mirror / "acme/tiny/pytorch_model.bin")
    with refused("params.yaml: clip_embed.encoder is acme/tiny", "cannot be used as its weights"):
        embedded(noise_images(2))
    assert not (mirror / "harm").exists()


def test_a_mirror_of_another_commit_is_an_error(mirror):
    note = mirror / "acme/tiny/.cache/huggingface/download/model.safetensors.metadata"
    note.parent.mkdir(parents=True)
    note.write_text("f" * 40 + "\netag\n1.0\n")
    with refused("clip_embed.encoder is acme/tiny", f"commit {'f' * 40}", f"asks for {COMMIT}"):
        embedded(noise_images(2))
    assert len(embedded(noise_images(2), revision="f" * 40)) == 2
    assert len(embedded(noise_images(2), revision="main")) == 2


def test_loading_prints_nothing(capfd):
    load_huggingface("acme/tiny", COMMIT, "auto")
    assert capfd.readouterr() == ("", "")
