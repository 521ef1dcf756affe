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

# They have auxiliary classifiers, and weights that take grey levels from -1 to 1.
INCEPTIONS = ("googlenet", "inception_v3")
AUXILIARY = ("AuxLogits", "aux1", "aux2")


def torchvision_names() -> list[str]:
    return models.list_models(module=models)


def torchvision_architecture(name: str) -> Architecture:
    """name: one of `names()`. Its published weights are torchvision's default ones."""
    preset = models.get_model_weights(name).DEFAULT.transforms()
    (size,) = preset.crop_size
    published = Input(size, 3, tuple(preset.mean), tuple(preset.std))
    if name in INCEPTIONS:
        published = Input(size, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return Architecture(partial(_fresh, name), 3, published, partial(_pretrained, name))


def load_pretrained(name: str, setting: Setting) -> nn.Module:
    """name: one of `names()`. The whole classifier with its default weights, which takes what they state.

    Raises `UserError` if the weights are unavailable or do not fit.
    """
    weights = models.get_model_weights(name).DEFAULT
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    path = from_url(setting, weights.url, stated_hash(weights.url), cache)
    with reading(setting, path):
        # Only a builder that is given the weights sets what depends on them (input size, branches, scaling),
        # but it would load them by pickle: it gets them from here instead.
        state = read_state(path)
        weights.get_state_dict = lambda **_: state
        try:
            return models.get_model(name, weights=weights)
        finally:
            del weights.get_state_dict


def cut_head(model: nn.Module) -> tuple[str, int]:
    """Take the last layer off `model`, with the dropout in front of it. Returns its name and inputs.

    What is left gives the inputs of that layer, averaged over space if that is a convolution (SqueezeNet's):
    behind it come a ReLU, idle on features that have had one, and the mean.
    """
    leaves = [(key, module) for key, module in model.named_modules() if not list(module.children())]
    place = max(i for i, (_, leaf) in enumerate(leaves) if isinstance(leaf, nn.Linear | nn.Conv2d))
    name, last = leaves[place]
    before, dropout = leaves[place - 1]
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


def _pretrained(name: str, setting: Setting) -> nn.Module:
    model = load_pretrained(name, setting)
    _make_base(model)
    return model


def _make_base(model: Any) -> None:
    cut_head(model)
    if isinstance(model, models.GoogLeNet | models.Inception3):
        model.transform_input = (
            False  # from ImageNet's mean and deviation, which `torchvision_architecture` replaces
        )
        model.aux_logits = False
        for name in AUXILIARY:
            if hasattr(model, name):
                setattr(model, name, None)
