"""Penultimate features of torchvision's ImageNet classifiers (https://pytorch.org/vision/stable/models.html)."""

import re
from pathlib import Path

import torch
from torch import nn
from torchvision import models
from torchvision.transforms._presets import ImageClassification

from cxr.encoders.network import Network, Preparation
from cxr.encoders.weights import from_url, nearest, reading, refusal


def load(name: str) -> Network:
    """name: a classifier of `torchvision.models`, with its default weights.

    Its features are the input of the last classification layer, averaged over space if that is a convolution.
    Raises `UserError` if the classifier is unknown, or if the weights are not to be had or do not fit.
    """
    encoder = f"torchvision:{name}"
    names = models.list_models(module=models)
    if name not in names:
        raise refusal(encoder, f"torchvision has no such classifier; nearest: {nearest(name, names)}")
    weights = models.get_model_weights(name).DEFAULT
    stated = re.search(r"-([0-9a-f]{8,})\.", weights.url)
    path = from_url(
        encoder, weights.url, stated[1] if stated else "", Path(torch.hub.get_dir()) / "checkpoints"
    )
    with reading(encoder, path):
        model = _build(name, weights, path)
    layer_name, last = [
        (key, layer) for key, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)
    ][-1]
    # Behind a last convolution (SqueezeNet's) come a ReLU, idle on features that have had one, and the mean.
    model.set_submodule(layer_name, nn.Identity())
    dimensions = last.in_features if isinstance(last, nn.Linear) else last.in_channels
    return Network(_preparation(weights.transforms()), model, model, dimensions)


def _build(name: str, weights: models.WeightsEnum, path: Path) -> nn.Module:
    # Only a builder that is given the weights sets what depends on them (input size, branches, scaling), but
    # it would load them by pickle: it gets them from here instead.
    state = torch.load(path, map_location="cpu", weights_only=True)
    weights.get_state_dict = lambda **_: state
    try:
        return models.get_model(name, weights=weights)
    finally:
        del weights.get_state_dict


def _preparation(preset: ImageClassification) -> Preparation:
    (edge,), (side,) = preset.resize_size, preset.crop_size
    start = round((edge - side) / 2)
    return Preparation(
        (edge, edge),
        (start, start, side, side),
        preset.interpolation,
        tuple(255 * value for value in preset.mean),
        tuple(255 * value for value in preset.std),
    )
