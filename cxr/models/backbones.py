"""Backbones by the name in params.yaml: our own, torchvision's classifiers and timm's models."""

from collections.abc import Callable

import torch
from torch import nn

from cxr.core.errors import UserError
from cxr.core.fetch import Setting, from_mirror, nearest
from cxr.models import small_cnns
from cxr.models.architecture import Architecture, Backbone, Fresh, Input
from cxr.models.weights import load_into

OWN = ("compact_cnn", "small_cnn", "resnet18_28")
TIMM = "timm:"


def backbone_names() -> list[str]:
    from cxr.models.timm_models import timm_names
    from cxr.models.torchvision_models import torchvision_names

    return [*OWN, *torchvision_names(), *(TIMM + name for name in timm_names())]


def build_backbone(
    name: str, *, weights: str, weights_sha256: str, size: int | None, stored_size: int
) -> Backbone:
    """The backbone that params.yaml's model.backbone names.

    weights: none (initial ones, from PyTorch's global generator), imagenet (the published ones), or file:NAME
    of CXR_MIRROR with this hash. The architecture is the same with all three. size: pixels a side of its
    input; None is what the weights take, or stored_size with none.
    Raises `UserError` if the backbone is unknown or cannot take that size, or if the weights are not to be
    had, are not what the hash says, or belong to another architecture.
    """
    architecture = _architecture(name)
    setting = Setting("model.weights", weights)
    if weights == "imagenet" and architecture.pretrained is None:
        raise setting.error(f"{name} has none; allowed for it: none or file:NAME")
    published = None if weights == "none" else architecture.published
    side = size or (published.size if published else stored_size)
    try:
        # Weights fit position embeddings of their own size only.
        fresh = architecture.fresh(published.size if published else side)
        dimensions = _dimensions(fresh.base, architecture.channels, side)
    except (RuntimeError, ValueError, AssertionError):
        works = architecture.published.size if architecture.published else stored_size
        if side == works:  # then it is not the size
            raise
        raise UserError(
            f"params.yaml: model.input_size: {name} takes no radiographs of {side} x {side} pixels; "
            f"set it to {works}"
        ) from None
    base = fresh.base
    if weights == "imagenet" and architecture.pretrained:
        base = architecture.pretrained(setting)
    elif weights != "none":
        path = from_mirror(setting, weights.removeprefix("file:"), weights_sha256)
        load_into(fresh, name, path, setting)
    mean, std = (published.mean, published.std) if published else (None, None)
    return Backbone(base, dimensions, Input(side, architecture.channels, mean, std))


def _architecture(name: str) -> Architecture:
    # torchvision and timm take seconds to import.
    if name == "compact_cnn":
        return _own(small_cnns.compact_cnn, "head", small_cnns.DIMENSIONS)
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
    """How many features `base` gives of an image. Raises what it raises on images that it cannot take."""
    # Not on the device `meta`, which computes nothing, but takes seconds to import in every process. Nor in
    # inference mode: what a model may keep from there cannot be trained with.
    base.eval()
    with torch.no_grad():
        features = base(torch.zeros(1, channels, size, size))
    base.train()
    return features.shape[1]
