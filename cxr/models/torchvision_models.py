"""torchvision's ImageNet classifiers (https://pytorch.org/vision/stable/models.html) as backbones."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from cxr.core.fetch import Setting, from_url, stated_hash
from cxr.models.architecture import Architecture, Fresh, Input, without
from cxr.models.weights import read_state, reading

# They have auxiliary classifiers, and their weights expect grey levels in [-1, 1].
INCEPTIONS = ("googlenet", "inception_v3")
AUXILIARY = ("AuxLogits", "aux1", "aux2")


def torchvision_names() -> list[str]:
    return models.list_models(module=models)


def torchvision_architecture(name: str) -> Architecture:
    """name: one of `torchvision_names()`. Its published weights are torchvision's default ones."""
    preset = models.get_model_weights(name).DEFAULT.transforms()
    (size,) = preset.crop_size
    published = Input(size, 3, tuple(preset.mean), tuple(preset.std))
    if name in INCEPTIONS:
        published = Input(size, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return Architecture(
        fresh=partial(_fresh, name),
        channels=3,
        published=published,
        fetch=partial(_fetch, name),
        pretrained=partial(_pretrained, name),
    )


def load_pretrained(name: str, setting: Setting) -> nn.Module:
    """The whole classifier `name` of `torchvision_names()` with its default weights, for their input.

    Raises `UserError` if the weights are unavailable or do not fit.
    """
    weights = models.get_model_weights(name).DEFAULT
    path = _fetch(name, setting)
    with reading(setting, path):
        # Only a builder that is given the weights sets what depends on them (input size, branches, scaling).
        # It would read them by pickle; this state replaces what it would read.
        state = read_state(path)
        weights.get_state_dict = lambda **_: state
        try:
            return models.get_model(name, weights=weights)
        finally:
            del weights.get_state_dict


def cut_head(model: nn.Module) -> tuple[str, int]:
    """Remove the last layer of `model` and the dropout before it. Returns its name and number of inputs.

    The rest returns the inputs of that layer, averaged over space if it is a convolution (SqueezeNet's): a
    ReLU and the mean follow it, and the ReLU does not change features that come out of another ReLU.
    """
    leaves = [(key, module) for key, module in model.named_modules() if not list(module.children())]
    last_index = max(i for i, (_, leaf) in enumerate(leaves) if isinstance(leaf, nn.Linear | nn.Conv2d))
    name, last = leaves[last_index]
    before, dropout = leaves[last_index - 1]
    if isinstance(dropout, nn.Dropout):
        model.set_submodule(before, nn.Identity())
    model.set_submodule(name, nn.Identity())
    return name, last.in_features if isinstance(last, nn.Linear) else last.in_channels


def _fresh(name: str, size: int) -> Fresh:
    options: dict[str, Any] = {}
    if name in INCEPTIONS:
        options = {"init_weights": True}
    elif name.startswith("vit_"):
        options = {"image_size": size}
    elif name == "maxvit_t":
        options = {"input_size": (size, size)}
    return without(models.get_model(name, weights=None, **options), _make_base)


def _fetch(name: str, setting: Setting) -> Path:
    url = models.get_model_weights(name).DEFAULT.url
    return from_url(setting, url, stated_hash(url), Path(torch.hub.get_dir()) / "checkpoints")


def _pretrained(name: str, setting: Setting) -> nn.Module:
    model = load_pretrained(name, setting)
    _make_base(model)
    return model


def _make_base(model: Any) -> None:
    cut_head(model)
    if isinstance(model, models.GoogLeNet | models.Inception3):
        # From ImageNet's mean and standard deviation, which `torchvision_architecture` replaces.
        model.transform_input = False
        model.aux_logits = False
        for name in AUXILIARY:
            if hasattr(model, name):
                setattr(model, name, None)
