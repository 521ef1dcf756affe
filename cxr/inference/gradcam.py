"""Class activation maps by Grad-CAM, for every backbone.

Selvaraju et al., 2017, https://arxiv.org/abs/1610.02391. Captum (https://captum.ai) computes it. This module
adds the choice of the layer, by running the backbone, and the score of a class, which has to be defined for
an ensemble, for sub-classes and for networks of one logit.
"""

import copy
import math
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from cxr.core.errors import UserError
from cxr.models.classifier import Classifier, batch_size
from cxr.models.network import Network
from cxr.models.preprocess import to_grey


class Layer(NamedTuple):
    """A module of a base whose output preserves the spatial layout of an image. name: in the base. grid:
    rows and columns of that output."""

    name: str
    grid: int


def gradcam(
    classifier: Classifier, images: np.ndarray, classes: np.ndarray, device: torch.device
) -> np.ndarray:
    """How much each region of an image raises the score of a class.

    images: (N, size, size) uint8. classes: (N,) int, the class to explain for each image. Returns (N, size,
    size) float32 from 0 to 1, which is the maximum of each image's map, or all 0 if no region raises the
    score.

    The score of a class is the log-sum-exp of its sub-classes' logits, without sub-classes the logit itself.
    One logit z counts as z / 2 for the second class and -z / 2 for the first, so that no location of the
    layer raises both scores. Grad-CAM is linear in the score until its ReLU: the ensemble's map is the ReLU
    of the members' mean. Images are not augmented (no test-time augmentation). Raises `UserError` if the
    images have another size than the classifier was trained on, or if no layer of the backbone preserves the
    spatial layout.
    """
    coarse = coarse_maps(classifier, images, classes, device).relu()
    size = classifier.spec.size
    maps = []
    for part in coarse.split(batch_size(classifier.spec.input_size)):
        fine = LayerAttribution.interpolate(part, (size, size), "bilinear")
        largest = fine.amax(dim=(2, 3), keepdim=True)
        maps.append((fine / torch.where(largest > 0, largest, 1)).squeeze(1))
    return torch.cat(maps).float().cpu().numpy()


def coarse_maps(
    classifier: Classifier, images: np.ndarray, classes: np.ndarray, device: torch.device
) -> Tensor:
    """(N, 1, grid, grid) float32: the maps of `gradcam`, which takes the same arguments, before the ReLU and
    at the resolution of the layer."""
    spec = classifier.spec
    if images.shape[1:] != (spec.size, spec.size):
        sides = " x ".join(str(side) for side in images.shape[1:])
        raise UserError(f"images are {sides} pixels, the classifier takes {spec.size} x {spec.size}")
    # A copy, as hooks are set; frozen, so that only activations after the layer are kept for the gradient.
    frozen = copy.deepcopy(classifier).to(device).requires_grad_(False).eval()
    members = [member for member in frozen.members if isinstance(member, Network)]
    noise = torch.rand(1, 1, spec.size, spec.size, generator=torch.Generator().manual_seed(0))
    layer = find_layer(members[0].base, spec.preprocess(noise.to(device)))
    if layer is None:
        raise UserError(
            f"{spec.backbone}: no layer preserves the spatial layout of a radiograph, which Grad-CAM needs; "
            "choose another model.backbone in params.yaml"
        )
    batch = batch_size(spec.input_size)
    parts = []
    for start in range(0, len(images), batch):
        grey = to_grey(torch.from_numpy(np.array(images[start : start + batch])).to(device))
        target = torch.from_numpy(np.array(classes[start : start + batch])).to(device)
        inputs = spec.preprocess(grey)
        of_members = [_attribute(member, layer, inputs, target, frozen.summing) for member in members]
        parts.append(torch.stack(of_members).mean(dim=0))
    return torch.cat(parts)


def find_layer(base: nn.Module, images: Tensor) -> Layer | None:
    """The last module of `base` whose output preserves the spatial layout of the images and has a non-zero
    gradient with respect to the features; None if there is none.

    images: (n, channels, S, S) normalised. Behind the attention of a vision transformer's last block only the
    class token has an effect, so that the layer in front of this attention is found, as is usual.
    """
    recorded: dict[str, list[Tensor]] = {}

    def record(name: str, module: nn.Module, _: object, output: object) -> None:
        # Adaptive pooling may enlarge maps (VGG's does, for small images).
        if isinstance(output, Tensor) and not isinstance(module, nn.AdaptiveAvgPool2d):
            recorded.setdefault(name, []).append(output)

    hooks = [
        module.register_forward_hook(partial(record, name)) for name, module in base.named_modules() if name
    ]
    with torch.enable_grad():
        features = base(images.clone().requires_grad_())
        # Any weights but equal ones, with which layer normalisation makes the sum constant.
        score = (features * torch.linspace(-1, 2, features.shape[1], device=features.device)).sum()
    for hook in hooks:
        hook.remove()
    # The last to finish first. Of a module that is used twice, the name does not identify the output.
    single = [(name, outputs[0]) for name, outputs in reversed(recorded.items()) if len(outputs) == 1]
    spatial = [(name, output) for name, output in single if _grid(output)]
    # Tensors inside of an attention may have the shape of a map, but not that of the last map.
    for name, output in spatial:
        if output.shape != spatial[0][1].shape:
            continue
        (gradient,) = torch.autograd.grad(score, output, retain_graph=True, allow_unused=True)
        grid = _grid(output)
        if gradient is not None and to_maps(gradient, grid).any():
            return Layer(name, grid)
    return None


def to_maps(output: Tensor, grid: int) -> Tensor:
    """(N, C, grid, grid) from a layer's output, which is (N, C, grid, grid), (N, grid, grid, C), or (N,
    tokens, C) with class tokens and other extra tokens in front."""
    if output.ndim == 3:
        return output[:, -(grid**2) :].transpose(1, 2).unflatten(2, (grid, grid))
    return output if _channels_first(output) else output.permute(0, 3, 1, 2)


def _from_maps(maps: Tensor, output: Tensor) -> Tensor:
    """`output` with its maps replaced by `maps`: the inverse of `to_maps`."""
    if output.ndim == 3:
        tokens = maps.flatten(2).transpose(1, 2)
        return torch.cat([output[:, : -tokens.shape[1]], tokens], dim=1)
    return maps if _channels_first(output) else maps.permute(0, 2, 3, 1)


def _grid(output: Tensor) -> int:
    """Rows of the spatial layout in a layer's output, 0 without one. Images are square, and so are maps."""
    if output.ndim == 4 and (_channels_first(output) or output.shape[1] == output.shape[2]):
        side = output.shape[2]
    elif output.ndim == 3:
        side = math.isqrt(output.shape[1])
    else:
        return 0
    return side if side > 1 else 0


def _channels_first(output: Tensor) -> bool:
    return output.shape[2] == output.shape[3]


def _attribute(member: Network, layer: Layer, images: Tensor, classes: Tensor, summing: Tensor) -> Tensor:
    """(N, 1, grid, grid) float32: Grad-CAM of one member before its ReLU."""
    # Captum expects the channels in dimension 1, so the layer's output passes through `probe` as maps.
    probe = nn.Identity()

    def through(_: nn.Module, __: object, output: Tensor) -> Tensor:
        return _from_maps(probe(to_maps(output, layer.grid)), output)

    hook = member.base.get_submodule(layer.name).register_forward_hook(through)
    try:
        explainer = LayerGradCam(lambda x: class_scores(member(x), summing), probe)
        attribution: Tensor = explainer.attribute(images, target=classes)
        return attribution.detach()
    finally:
        hook.remove()


def class_scores(logits: Tensor, summing: Tensor) -> Tensor:
    """(N, classes) scores as `gradcam` defines them. logits: (N, outputs), or (N, 1) for two outputs.
    summing: (outputs, classes) of 0 and 1."""
    if logits.shape[1] == 1:
        logits = torch.cat([-logits / 2, logits / 2], dim=1)
    return (logits.unsqueeze(2) + summing.log()).logsumexp(dim=1)
