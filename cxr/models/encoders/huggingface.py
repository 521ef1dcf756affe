"""Vision models of the Hugging Face hub with the preprocessing of their own processor."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoImageProcessor, CLIPVisionModel
from transformers.activations import QuickGELUActivation
from transformers.image_utils import pil_torch_interpolation_mapping

from cxr.core.fetch import Setting
from cxr.models.encoders.encoder import Encoder, Preparation
from cxr.models.encoders.huggingface_models import PooledModel, load_huggingface_model, settings_of
from cxr.models.weights import reading

FLOAT_RESIZE = ("DINOv3ViTImageProcessor",)  # they resize grey levels that are floats already


class FusedQuickGELU(nn.Module):
    """x sigmoid(1.702 x) (QuickGELU, https://arxiv.org/abs/1606.08415) with one kernel less, as the SiLU of
    1.702 x."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x * 1.702, inplace=True).div_(1.702)


class ClassTokenOnly(nn.Module):
    """`inner` of the first token alone, (n, 1, d), which is broadcast when it is added to all tokens,
    (n, tokens, d)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor) -> Tensor:
        return self.inner(tokens[:, :1])


def load_huggingface(name: str, revision: str, pooling: str) -> Encoder:
    """name: `<org>/<model>`. Its features are pooled, but not normalised; see `load_huggingface_model`.

    Raises `UserError` as that does, or if its processor does more to an image than resize, crop and normalise
    it.
    """
    setting = Setting("clip_embed.encoder", name)
    model, folder = load_huggingface_model(setting, revision, pooling)
    with reading(setting, folder):
        processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, backend="torchvision")
        encoder = huggingface_encoder(model, processor)
        _check_preparation(setting, folder, encoder.preparation, processor)
    return encoder


def huggingface_encoder(model: PooledModel, processor: Any) -> Encoder:
    origin = {"library": "transformers", "pooling": model.pooling, "settings": settings_of(model)}
    return Encoder.of(preparation_of(processor), model, origin)


def hasten(pooled: nn.Module) -> None:
    """Where this is CLIP, change it in place to give the same `pooler_output` in nine tenths of the time; its
    weights have other names then."""
    if not (
        isinstance(pooled, PooledModel)
        and isinstance(pooled.model, CLIPVisionModel)
        and pooled.pooling == "pooler"
    ):
        return
    layers: Any = pooled.model.encoder.layers
    for layer in layers:
        if isinstance(layer.mlp.activation_fn, QuickGELUActivation):
            layer.mlp.activation_fn = FusedQuickGELU()
    last = layers[-1]  # of which only the class token is read
    last.mlp, last.self_attn.out_proj = ClassTokenOnly(last.mlp), ClassTokenOnly(last.self_attn.out_proj)


def preparation_of(processor: Any) -> Preparation:
    """What `processor`, an image processor of transformers, does to a square image, as far as it consists of
    resizing, cropping and normalising."""
    edge = processor.size.shortest_edge
    height, width = (edge, edge) if edge else (processor.size.height, processor.size.width)
    crop = (0, 0, height, width)
    if processor.do_center_crop:
        rows, columns = processor.crop_size.height, processor.crop_size.width
        crop = (int((height - rows) / 2), int((width - columns) / 2), rows, columns)
    return Preparation(
        (height, width),
        crop,
        pil_torch_interpolation_mapping[processor.resample],
        tuple(value / processor.rescale_factor for value in processor.image_mean),
        tuple(value / processor.rescale_factor for value in processor.image_std),
        resizing="floats" if type(processor).__name__ in FLOAT_RESIZE else "levels",
    )


def _check_preparation(setting: Setting, folder: Path, preparation: Preparation, processor: Any) -> None:
    """Processors differ in more than their settings: compares both on an image of noise."""
    noise = torch.randint(256, (1, 40, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    ours = preparation(noise, torch.device("cpu"))
    theirs = processor(images=noise.expand(3, -1, -1), return_tensors="pt")["pixel_values"]
    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=0, atol=1e-4):
        raise setting.error(
            f"the processor in {folder}, {type(processor).__name__}, does more to an image than resize, crop "
            "and normalise it; choose another model"
        )
