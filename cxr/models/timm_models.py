"""timm's models (https://github.com/huggingface/pytorch-image-models) as backbones."""

from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from cxr.core.fetch import Setting, from_hub, from_url, stated_hash
from cxr.models.architecture import Architecture, Fresh, Input, without
from cxr.models.weights import read_state, reading


def timm_names() -> list[str]:
    """Names without a tag (timm's default weights) and with one: `resnet10t`, `resnet10t.c3_in1k`."""
    return [*timm.list_models(), *timm.list_pretrained()]


def timm_architecture(name: str) -> Architecture:
    """name: one of `timm_names()`."""
    settings: Any = timm.get_pretrained_cfg(name)
    channels, size, _ = settings.input_size
    published = Input(size, channels, tuple(settings.mean), tuple(settings.std))
    has_weights = settings.has_weights
    return Architecture(
        fresh=partial(_fresh, name),
        channels=channels,
        published=published,
        fetch=partial(_fetch, name) if has_weights else None,
        pretrained=partial(_pretrained, name) if has_weights else None,
    )


def _fresh(name: str, size: int) -> Fresh:
    """size: not used, since models whose shapes depend on it accept the published one only."""
    return without(timm.create_model(name), _make_base)


def _pretrained(name: str, setting: Setting) -> nn.Module:
    path = _fetch(name, setting)
    with reading(setting, path):
        # timm translates the tensor names of older files, but it would read some files by pickle.
        overlay = {"state_dict": read_state(path)}
        model: Any = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    del model.pretrained_cfg["state_dict"]
    _make_base(model)
    return model


def _make_base(model: Any) -> None:
    model.reset_classifier(0)


def _fetch(name: str, setting: Setting) -> Path:
    settings: Any = timm.get_pretrained_cfg(name)
    if not settings.hf_hub_id:
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        return from_url(setting, settings.url, stated_hash(settings.url), cache)
    pickled = settings.hf_hub_filename or "pytorch_model.bin"
    safe = Path(pickled).with_suffix(".safetensors").name if settings.hf_hub_filename else "model.safetensors"
    return from_hub(setting, settings.hf_hub_id, None, (safe, pickled))
