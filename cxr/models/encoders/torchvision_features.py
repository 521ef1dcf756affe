"""Penultimate features of torchvision's ImageNet classifiers (https://pytorch.org/vision/stable/models.html)."""

from torchvision import models
from torchvision.transforms._presets import ImageClassification

from cxr.core.fetch import Setting, nearest
from cxr.models.architecture import Input
from cxr.models.encoders.encoder import Encoder, Preparation
from cxr.models.torchvision_models import torchvision_architecture, torchvision_names


def load_torchvision(name: str) -> Encoder:
    """name: a classifier of `torchvision.models`, with its default weights.

    The features are the input of the last classification layer, averaged over space if that is a convolution.
    Raises `UserError` if the classifier is unknown, or if the weights are unavailable or do not fit.
    """
    setting = Setting("clip_embed.encoder", f"torchvision:{name}")
    names = torchvision_names()
    if name not in names:
        raise setting.error(f"torchvision has no such classifier; nearest: {nearest(name, names)}")
    architecture = torchvision_architecture(name)
    assert architecture.pretrained is not None  # as all of torchvision's have weights
    assert architecture.published is not None
    preset = models.get_model_weights(name).DEFAULT.transforms()
    origin = {"library": "torchvision", "name": name}
    return Encoder.of(_preparation(preset, architecture.published), architecture.pretrained(setting), origin)


def _preparation(preset: ImageClassification, published: Input) -> Preparation:
    assert published.mean is not None
    assert published.std is not None
    (edge,), (side,) = preset.resize_size, preset.crop_size
    start = round((edge - side) / 2)
    return Preparation(
        (edge, edge),
        (start, start, side, side),
        preset.interpolation,
        tuple(255 * value for value in published.mean),
        tuple(255 * value for value in published.std),
        resizing="pillow",
    )
