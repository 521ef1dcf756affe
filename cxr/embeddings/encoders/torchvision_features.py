"""Penultimate features of torchvision's ImageNet classifiers (https://pytorch.org/vision/stable/models.html)."""

from torchvision import models
from torchvision.transforms._presets import ImageClassification

from cxr.core.fetch import Setting, nearest
from cxr.embeddings.encoders.encoder import Encoder, Preparation
from cxr.models.torchvision_models import cut_head, load_pretrained, torchvision_names


def load_torchvision(name: str) -> Encoder:
    """name: a classifier of `torchvision.models`, with its default weights.

    The features are the input of the last classification layer, averaged over space if that is a convolution.
    Raises `UserError` if the classifier is unknown, or if the weights are unavailable or do not fit.
    """
    setting = Setting("clip_embed.encoder", f"torchvision:{name}")
    names = torchvision_names()
    if name not in names:
        raise setting.error(f"torchvision has no such classifier; nearest: {nearest(name, names)}")
    model = load_pretrained(name, setting)
    cut_head(model)
    preset = models.get_model_weights(name).DEFAULT.transforms()
    return Encoder.of(_preparation(preset), model)


def _preparation(preset: ImageClassification) -> Preparation:
    (edge,), (side,) = preset.resize_size, preset.crop_size
    start = round((edge - side) / 2)
    return Preparation(
        (edge, edge),
        (start, start, side, side),
        preset.interpolation,
        tuple(255 * value for value in preset.mean),
        tuple(255 * value for value in preset.std),
        resizing="pillow",
    )
