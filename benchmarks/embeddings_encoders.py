"""clip-embed gives the embeddings that the encoders' own libraries give of single images: the table of
docs/encoders.md.

    python -m benchmarks.embeddings_encoders

Each row is a small model of the published architecture with random weights, which the library saves in the
published file format beside a processor with the published settings, as far as these are known here without a
network connection. The library's own code then embeds one PIL image after the other. Float32, eight images of
noise of 64 pixels; the difference is the largest absolute one, divided by the largest absolute feature.
Float sums in another order differ by some 1e-7.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from torch import nn
from transformers import AutoImageProcessor

from cxr.models.encoders.encoder import encode
from cxr.models.encoders.huggingface import hasten
from cxr.models.encoders.load import load_encoder
from cxr.params import ClipEmbed, load_params

TABLE = Path("docs/encoders.md")
START, END = "<!-- table: python -m benchmarks.embeddings_encoders -->", "<!-- end of the table -->"
IMAGES, SIZE = 8, 64
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
HALF = [0.5, 0.5, 0.5]
Embed = Callable[[Image.Image], torch.Tensor]


@dataclass(frozen=True)
class Case:
    """published: the id that users write. encoder: of the small model. build: saves it in the folder and
    returns how its library embeds an image."""

    published: str
    encoder: str
    build: Callable[[Path], Embed]
    pooling: str = "auto"
    note: str = ""


def hub_model(config: Any, processor: Any, feature: Callable[[Any], torch.Tensor]) -> Callable[[Path], Embed]:
    """A model of transformers. feature: of its output for one image."""

    def build(folder: Path) -> Embed:
        transformers.AutoModel.from_config(config).save_pretrained(folder)
        processor.save_pretrained(folder)
        whole = transformers.AutoModel.from_pretrained(folder).eval()
        model = getattr(whole, "vision_model", whole)
        prepare = AutoImageProcessor.from_pretrained(folder)
        return lambda image: feature(model(**prepare(images=image, return_tensors="pt")))[0]

    return build


def pooler(output: Any) -> torch.Tensor:
    return output.pooler_output


def class_token(output: Any) -> torch.Tensor:
    return output.last_hidden_state[:, 0]


def patches(output: Any) -> torch.Tensor:
    """RAD-DINO has one class token in front."""
    return output.last_hidden_state[:, 1:].mean(dim=1)


def squares(size: int, crop: int, mean: list[float], std: list[float]) -> Any:
    return transformers.BitImageProcessor(
        size={"shortest_edge": size},
        crop_size={"height": crop, "width": crop},
        image_mean=mean,
        image_std=std,
        resample=Image.Resampling.BICUBIC,
    )


def clip_like(config: type, image_size: int, patch_size: int) -> Any:
    vision = SMALL | {"intermediate_size": 64, "image_size": image_size, "patch_size": patch_size}
    text = SMALL | {"intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 50}
    if config is transformers.SiglipConfig:
        text |= {"projection_size": 32}
    return config(vision_config=vision, text_config=text)


def bilinear(size: int) -> Any:
    sides = {"height": size, "width": size}
    resample = Image.Resampling.BILINEAR
    return transformers.SiglipImageProcessor(size=sides, image_mean=HALF, image_std=HALF, resample=resample)


def biomedclip(folder: Path) -> Embed:
    """An image tower of timm and a text tower that would need files of another repository."""
    vision = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160}
    text = {"hf_model_name": "acme/not-here", "hf_tokenizer_name": "acme/not-here", "hf_proj_type": "mlp"}
    settings = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": settings, "preprocess_cfg": preprocess})
    )
    plain = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    model = open_clip.CustomTextCLIP(24, vision | {"timm_model_pretrained": False}, plain).eval()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    prepare = open_clip.image_transform(160, is_train=False, **preprocess)
    return lambda image: model.encode_image(prepare(image).unsqueeze(0))[0]


def timm_model(name: str) -> Callable[[Path], Embed]:
    def build(folder: Path) -> Embed:
        model: Any = timm.create_model(name).eval()
        save_file(model.state_dict(), folder / "model.safetensors")
        prepare: Any = create_transform(**resolve_model_data_config(model), is_training=False)
        return lambda image: model.reset_classifier(0) or model(prepare(image).unsqueeze(0))[0]

    return build


def timm_repository(name: str) -> str:
    settings: Any = timm.get_pretrained_cfg(name)
    return settings.hf_hub_id


DINOV2 = transformers.Dinov2Config(**SMALL, image_size=518, patch_size=14)
REGISTERS = transformers.Dinov2WithRegistersConfig(**SMALL, image_size=518, patch_size=14)
RAD_DINO = squares(518, 518, [0.5307] * 3, [0.2583] * 3)
DINO = squares(256, 224, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
VIT = transformers.ViTConfig(**SMALL, intermediate_size=64)
DINOV3 = transformers.DINOv3ViTConfig(**SMALL, intermediate_size=64)
CLIP, SIGLIP = transformers.CLIPConfig, transformers.SiglipConfig
CASES = [
    Case("microsoft/rad-dino", "acme/rad-dino", hub_model(DINOV2, RAD_DINO, pooler)),
    Case("microsoft/rad-dino", "acme/rad-dino", hub_model(DINOV2, RAD_DINO, patches), "mean"),
    Case("facebook/dinov2-base", "acme/dinov2", hub_model(DINOV2, DINO, pooler)),
    Case("facebook/dinov2-with-registers-base", "acme/registers", hub_model(REGISTERS, DINO, class_token)),
    Case(
        "facebook/dinov3-vitb16-pretrain-lvd1689m",
        "acme/dinov3",
        hub_model(DINOV3, transformers.DINOv3ViTImageProcessor(), pooler),
    ),
    Case(
        "google/siglip2-base-patch16-224",
        "acme/siglip2",
        hub_model(clip_like(SIGLIP, 224, 16), bilinear(224), pooler),
    ),
    Case(
        "google/medsiglip-448", "acme/medsiglip", hub_model(clip_like(SIGLIP, 448, 14), bilinear(448), pooler)
    ),
    Case(
        "openai/clip-vit-base-patch32",
        "acme/clip",
        hub_model(clip_like(CLIP, 224, 32), transformers.CLIPImageProcessor(), pooler),
    ),
    Case(
        "google/vit-base-patch16-224",
        "acme/vit",
        hub_model(VIT, transformers.ViTImageProcessor(), class_token),
    ),
    Case(
        "open_clip:hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        "open_clip:hf-hub:acme/biomedclip",
        biomedclip,
        note="with test_vit of timm as its tower",
    ),
    Case("timm:resnet50.a1_in1k", "timm:test_resnet", timm_model("test_resnet"), note="timm's test_resnet"),
    Case("timm:vit_base_patch16_224", "timm:test_vit", timm_model("test_vit"), note="timm's test_vit"),
]


@contextmanager
def mirror_of(case: Case) -> Iterator[Embed]:
    """While CXR_MIRROR holds the small model of `case`; yields how the library embeds."""
    before = os.environ.get("CXR_MIRROR")
    library, _, name = case.encoder.rpartition(":")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / (timm_repository(name) if library == "timm" else name)
        folder.mkdir(parents=True)
        torch.manual_seed(0)
        os.environ["CXR_MIRROR"] = place
        try:
            yield case.build(folder)
        finally:
            os.environ.pop("CXR_MIRROR")
            if before is not None:
                os.environ["CXR_MIRROR"] = before


def settings_of(case: Case) -> ClipEmbed:
    base = load_params(Path(__file__).parents[1] / "params.yaml").clip_embed
    changes = {"encoder": case.encoder, "pooling": case.pooling, "revision": "main", "precision": "float32"}
    return base.replace(**changes)


@dataclass(frozen=True)
class Measured:
    """resized, size: pixels a side, before and after the crop. difference: the largest, relative."""

    pooling: str
    resized: int
    size: int
    interpolation: str
    dimensions: int
    difference: float


def measure_case(case: Case, count: int = IMAGES) -> Measured:
    images = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE), dtype=np.uint8)
    with mirror_of(case) as library, torch.inference_mode():
        expected = np.stack([library(Image.fromarray(image).convert("RGB")).numpy() for image in images])
        encoder = load_encoder(settings_of(case))
        hasten(encoder.model)
        ours = encode(encoder, images, torch.device("cpu"), "float32")
    prepared = encoder.preparation
    return Measured(
        pooling_of(encoder.model),
        prepared.size[0],
        prepared.crop[2],
        prepared.interpolation.value,
        encoder.dimensions,
        float(np.abs(ours - expected).max() / np.abs(expected).max()),
    )


def pooling_of(model: nn.Module) -> str:
    return getattr(model, "pooling", "its library's own")


def table() -> str:
    lines = [
        "| encoder | pooling | resized to | cropped to | interpolation | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    for case in CASES:
        result = measure_case(case)
        name = f"`{case.published}`" + (f" ({case.note})" if case.note else "")
        pooling = result.pooling if case.pooling == "auto" else f"{result.pooling}, if set"
        cells = [name, pooling, result.resized, result.size, result.interpolation]
        lines.append(f"| {' | '.join(map(str, cells))} | {result.difference:.0g} |")
    return "\n".join(lines)


def main() -> None:
    page = TABLE.read_text(encoding="utf-8")
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    TABLE.write_text(f"{before}{START}\n\n{table()}\n\n{END}{after}", encoding="utf-8", newline="\n")
    print(f"wrote the table of {TABLE}")


if __name__ == "__main__":
    main()
