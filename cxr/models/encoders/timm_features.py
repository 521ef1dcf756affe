"""Features of timm's models (https://github.com/huggingface/pytorch-image-models) before their last layer."""

import math
from typing import Any

from timm.data import resolve_model_data_config
from torchvision.transforms import InterpolationMode

from cxr.core.fetch import Setting, nearest
from cxr.models.encoders.encoder import Encoder, Preparation
from cxr.models.timm_models import timm_architecture, timm_names


def load_timm(name: str) -> Encoder:
    """name: of `timm_names()`. The features are those of the model with `num_classes=0`, timm's own pooling.

    Raises `UserError` if the model is unknown or has no published weights, or if these are unavailable or do
    not fit.
    """
    setting = Setting("clip_embed.encoder", f"timm:{name}")
    names = timm_names()
    if name not in names:
        raise setting.error(f"timm has no such model; nearest: {nearest(name, names)}")
    pretrained = timm_architecture(name).pretrained
    if pretrained is None:
        raise setting.error("timm has no weights for it; choose another model")
    model = pretrained(setting)
    origin = {"library": "timm", "name": name}
    return Encoder.of(_preparation(resolve_model_data_config(model)), model, origin)


def _preparation(settings: dict[str, Any]) -> Preparation:
    """For square images and square inputs timm's crop modes (center, squash, border) are equal."""
    _, height, width = settings["input_size"]
    enlarged = (math.floor(height / settings["crop_pct"]), math.floor(width / settings["crop_pct"]))
    top, left = (round((outer - inner) / 2) for outer, inner in zip(enlarged, (height, width), strict=True))
    return Preparation(
        enlarged,
        (top, left, height, width),
        InterpolationMode(settings["interpolation"]),
        tuple(255 * value for value in settings["mean"]),
        tuple(255 * value for value in settings["std"]),
        resizing="pillow",
    )
