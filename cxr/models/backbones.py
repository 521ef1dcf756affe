"""Backbones by the name in params.yaml: our own, torchvision's classifiers and timm's models."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from cxr.core.errors import UserError
from cxr.core.fetch import Setting, from_mirror, nearest
from cxr.models import small_cnns
from cxr.models.architecture import Architecture, Backbone, Fresh, Input
from cxr.models.weights import load_into

OWN = ("compact_cnn", "compact_cnn_wide", "compact_resnet", "small_cnn", "resnet18_28")
TIMM = "timm:"


def backbone_names() -> list[str]:
    from cxr.models.timm_models import timm_names
    from cxr.models.torchvision_models import torchvision_names

    return [*OWN, *torchvision_names(), *(TIMM + name for name in timm_names())]


def backbone_input(name: str, *, weights: str, size: int | None, stored_size: int) -> Input:
    """The input of the backbone that `build_backbone` would build with these arguments, without building it.

    Raises `UserError` if the backbone is unknown or has no published weights where weights is imagenet.
    """
    architecture = _architecture(name)
    if weights == "imagenet" and architecture.pretrained is None:
        raise Setting("model.weights", weights).error(f"{name} has none; allowed for it: none or file:NAME")
    published = None if weights == "none" else architecture.published
    side = size or (published.size if published else stored_size)
    mean, std = (published.mean, published.std) if published else (None, None)
    return Input(side, architecture.channels, mean, std)


def fetch_weights(name: str, weights: str, weights_sha256: str) -> Path | None:
    """The file that `build_backbone` would read with these arguments, downloaded if it is not here; None for
    weights none. The file is not opened, but its hash is checked where one is known.

    Raises `UserError` if it is unavailable or has another hash.
    """
    setting = Setting("model.weights", weights)
    if weights == "none":
        return None
    if weights == "imagenet":
        fetch = _architecture(name).fetch
        return fetch(setting) if fetch else None
    return from_mirror(setting, weights.removeprefix("file:"), weights_sha256)


def build_backbone(
    name: str, *, weights: str, weights_sha256: str, size: int | None, stored_size: int
) -> Backbone:
    """The backbone that params.yaml's model.backbone names.

    weights: none (initial ones, from PyTorch's global generator), imagenet (the published ones), or file:NAME
    of CXR_MIRROR with this hash. The architecture is the same with all three. size: pixels a side of its
    input; None: the size of the published input, or stored_size with weights none.
    Raises `UserError` if the backbone is unknown or cannot take that size, or if the weights are unavailable,
    have another hash, or belong to another architecture.
    """
    expects = backbone_input(name, weights=weights, size=size, stored_size=stored_size)
    architecture = _architecture(name)
    published = architecture.published
    try:
        # Position embeddings in a weights file have the published size.
        fresh = architecture.fresh(published.size if published and weights != "none" else expects.size)
        dimensions = _dimensions(fresh.base, architecture.channels, expects.size)
    except (RuntimeError, ValueError, AssertionError):
        accepted = published.size if published else stored_size
        if expects.size == accepted:  # then the size is not the cause
            raise
        raise UserError(
            f"params.yaml: model.input_size: {name} takes no radiographs of {expects.size} x {expects.size} "
            f"pixels; set it to {accepted}"
        ) from None
    base = fresh.base
    setting = Setting("model.weights", weights)
    if weights == "imagenet" and architecture.pretrained:
        base = architecture.pretrained(setting)
    elif path := fetch_weights(name, weights, weights_sha256):
        load_into(fresh, name, path, setting)
    return Backbone(base, dimensions, expects)


def _architecture(name: str) -> Architecture:
    # torchvision and timm take seconds to import.
    if name == "compact_cnn":
        return _own(small_cnns.compact_cnn, "head", small_cnns.DIMENSIONS)
    if name == "compact_cnn_wide":
        return _own(lambda: small_cnns.compact_cnn(small_cnns.WIDE), "head", small_cnns.WIDE[-1])
    if name == "compact_resnet":
        return _own(small_cnns.compact_resnet, "head", small_cnns.DIMENSIONS)
    if name == "small_cnn":
        return _own(small_cnns.small_cnn, "head", small_cnns.DIMENSIONS)
    if name == "resnet18_28":
        return _own(small_cnns.resnet18_28, "fc", small_cnns.RESNET_DIMENSIONS)
    if name.startswith(TIMM):
        from cxr.models.timm_models import timm_architecture, timm_names

        if (model := name.removeprefix(TIMM)) in timm_names():
            return timm_architecture(model)
    else:
        from cxr.models.torchvision_models import torchvision_architecture, torchvision_names

        if name in torchvision_names():
            return torchvision_architecture(name)
    raise Setting("model.backbone", name).error(
        f"there is no such backbone; nearest: {nearest(name, backbone_names())}"
    )


def _own(base: Callable[[], nn.Module], head: str, dimensions: int) -> Architecture:
    left_out = {f"{head}.weight": torch.Size([1, dimensions]), f"{head}.bias": torch.Size([1])}
    return Architecture(lambda _: Fresh(base(), left_out), channels=1)


def _dimensions(base: nn.Module, channels: int, size: int) -> int:
    """The number of features that `base` computes. Raises what it raises on images of an unsuitable size."""
    # Not on the device `meta`, which computes nothing, but takes seconds to import in every process. Nor in
    # inference mode: a tensor that a model keeps from there cannot be trained with.
    base.eval()
    with torch.no_grad():
        features = base(torch.zeros(1, channels, size, size))
    base.train()
    return features.shape[1]
