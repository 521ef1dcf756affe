"""Published encoders by the name in params.yaml, and networks of their architecture without weights."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cxr.core.errors import UserError
from cxr.models.architecture import Input
from cxr.models.encoders.encoder import Encoder
from cxr.params import ClipEmbed


@dataclass(frozen=True)
class FrozenEncoder:
    """What a saved classifier needs of its encoder, besides the weights. origin: see `Encoder`. dimensions:
    features. resized: pixels a side before the centre is cropped to the input's size. interpolation: bilinear
    or bicubic."""

    origin: dict[str, Any]
    dimensions: int
    resized: int
    interpolation: str


def load_encoder(settings: ClipEmbed) -> Encoder:
    """The network of `settings.encoder`, any but `pixels` and `classifier:`, with its published weights.

    Raises `UserError` if it is unknown, or if its weights are unavailable or not what they claim.
    """
    # Each of these libraries takes seconds to import.
    library, _, name = settings.encoder.partition(":")
    if library == "open_clip":
        from cxr.models.encoders.openclip import load_openclip

        return load_openclip(name, settings.revision)
    if library == "torchvision":
        from cxr.models.encoders.torchvision_features import load_torchvision

        return load_torchvision(name)
    if library == "timm":
        from cxr.models.encoders.timm_features import load_timm

        return load_timm(name)
    from cxr.models.encoders.huggingface import load_huggingface

    return load_huggingface(settings.encoder, settings.revision, settings.pooling)


def build_encoder_network(origin: dict[str, Any]) -> nn.Module:
    """The network of an `Encoder` of this origin, with initial weights; reads and downloads no file."""
    library = origin["library"]
    if library == "open_clip":
        from cxr.models.encoders.openclip_models import ImageTower

        return ImageTower(origin["settings"])
    if library == "transformers":
        from cxr.models.encoders.huggingface_models import build_huggingface_model

        return build_huggingface_model(origin["settings"], origin["pooling"])
    if library == "timm":
        from cxr.models.timm_models import timm_architecture as architecture
    else:
        from cxr.models.torchvision_models import torchvision_architecture as architecture
    published = architecture(origin["name"]).published
    assert published is not None  # an encoder has published weights
    return architecture(origin["name"]).fresh(published.size).base


def frozen_encoder(settings: ClipEmbed, size: int | None) -> tuple[Input, FrozenEncoder]:
    """The input and the description of the encoder as the backbone of a classifier.

    size: pixels a side of its input; None: as published. Raises `UserError` as `load_encoder` does, or if the
    encoder is `pixels` or takes no images of that size.
    """
    if settings.encoder == "pixels" or settings.encoder.startswith("classifier:"):
        raise UserError(
            f"params.yaml: model.backbone is encoder, but clip_embed.encoder is {settings.encoder}, which is "
            "no published network; choose another one (docs/encoders.md)"
        )
    encoder = load_encoder(settings)
    prepared = encoder.preparation
    _, _, height, width = prepared.crop
    side = size or height
    try:
        with torch.inference_mode():
            encoder.model(torch.zeros(1, 3, side, side if size else width))
    except (RuntimeError, ValueError, AssertionError):
        raise UserError(
            f"params.yaml: model.input_size: {settings.encoder} takes no radiographs of {side} x {side} "
            f"pixels; set it to {height}"
        ) from None
    if height != width:
        raise UserError(
            f"params.yaml: clip_embed.encoder is {settings.encoder}, but model.backbone encoder takes square "
            "inputs; choose another encoder"
        )
    channels = [tuple(value / 255 for value in values) for values in (prepared.mean, prepared.std)]
    resized = round(side * prepared.size[0] / height)
    mode = prepared.interpolation.value
    return (
        Input(side, 3, channels[0], channels[1]),
        FrozenEncoder(encoder.origin, encoder.dimensions, resized, mode),
    )
