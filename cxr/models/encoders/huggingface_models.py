"""Vision models of transformers (https://huggingface.co/docs/transformers), from images to features."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers.utils import logging

from cxr.core.errors import UserError
from cxr.core.fetch import Setting, from_hub
from cxr.models.weights import reading

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
OTHERS = ("config.json", "preprocessor_config.json", "processor_config.json", "model-*.safetensors")
POOLING = "clip_embed.pooling"
# Of a configuration: where the model was, and what its classification layer was for.
NOT_ARCHITECTURE = (
    *("_name_or_path", "transformers_version", "architectures", "dtype"),
    *("id2label", "label2id", "problem_type"),
)
# Their pooler is a layer that most published files lack; their own classifiers take the class token.
CLASS_TOKEN = ("vit", "deit")


class PooledModel(nn.Module):
    """(n, 3, height, width) normalised float to (n, d) features: what `model` computes, pooled.

    pooling: pooler (the model's own `pooler_output`), cls (the class token of its last layer) or mean (of the
    patches of that layer, without class and register tokens).
    """

    def __init__(self, model: nn.Module, pooling: str) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling
        if pooling != "pooler" and isinstance(getattr(model, "pooler", None), nn.Module):
            model.register_module("pooler", None)  # not used, and perhaps with initial weights

    def forward(self, x: Tensor) -> Tensor:
        """Raises `UserError` if the model has no such output."""
        output = self.model(pixel_values=x)
        if self.pooling == "pooler":
            pooled = output.get("pooler_output")
            if pooled is None:
                raise self._error("has no pooler_output; set it to cls or mean")
            return pooled.flatten(1)
        tokens = output.last_hidden_state
        if tokens.ndim == 4:  # the maps of a convolutional network, (n, d, height, width)
            tokens = tokens.flatten(2).transpose(1, 2)
        extra = self._extra_tokens(tokens, x)
        if self.pooling == "mean":
            return tokens[:, extra:].mean(dim=1)
        if not extra:
            raise self._error("has no class token; set it to pooler or mean")
        return tokens[:, 0]

    def _extra_tokens(self, tokens: Tensor, x: Tensor) -> int:
        """How many class and register tokens precede those of the patches. Hierarchical models have none, and
        fewer tokens in their last layer than patches."""
        config: Any = self.model.config
        side = getattr(config, "patch_size", None)
        if not isinstance(side, int):
            return 0
        return max(0, tokens.shape[1] - (x.shape[2] // side) * (x.shape[3] // side))

    def _error(self, text: str) -> UserError:
        config: Any = self.model.config
        return Setting(POOLING, self.pooling).error(f"a model of type {config.model_type} {text}")


def load_huggingface_model(setting: Setting, revision: str, pooling: str) -> tuple[PooledModel, Path]:
    """The vision model of the Hugging Face id `setting.value` in float32, the vision tower alone if it also
    has one for text. Returns the folder of its files as well. No code of the repository is run.

    pooling: see `PooledModel`, or auto: cls for `CLASS_TOKEN`, else pooler. Raises `UserError` if the weights
    are unavailable, incomplete, or not of a vision model, or if the model has no such pooling.
    """
    path = from_hub(setting, setting.value, revision, WEIGHTS, OTHERS)
    folder = path.parent
    logging.set_verbosity_error()  # else it lists the text tower's weights as unexpected
    logging.disable_progress_bar()
    with reading(setting, folder):
        config = vision_config(setting, folder)
        pooling = _chosen(config, pooling)
        network = _network(config)
        model, report = network.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    # transformers would fill what the file lacks with initial weights.
    needed = [key for key in sorted(report["missing_keys"]) if _used(key, pooling)]
    if needed:
        raise setting.error(f"{path} lacks weights, {needed[0]} among them; replace it by the published file")
    return PooledModel(model, pooling), folder


def build_huggingface_model(settings: dict[str, Any], pooling: str) -> PooledModel:
    """With initial weights. settings: as `settings_of` gives them."""
    config = AutoConfig.for_model(**settings)
    return PooledModel(_network(config)(config).float().eval(), pooling)


def settings_of(model: PooledModel) -> dict[str, Any]:
    """Its configuration, as JSON holds it."""
    config: Any = model.model.config
    kept = {key: value for key, value in config.to_dict().items() if key not in NOT_ARCHITECTURE}
    settings: dict[str, Any] = json.loads(json.dumps(kept))
    return settings


def vision_config(setting: Setting, folder: Path) -> PreTrainedConfig:
    """The settings of the vision model in `folder`. Raises `UserError` if there is none that takes images."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    tower = getattr(config, "vision_config", config)
    network = _network(tower)
    # The patches of siglip2 (NaFlex) are cut by its processor, to a varying number.
    if network is None or network.main_input_name != "pixel_values" or tower.model_type.startswith("siglip2"):
        raise setting.error(
            f"{folder} holds a model of type {config.model_type}, whose input is not images of one size; "
            "choose a vision model such as microsoft/rad-dino"
        )
    return tower


def _network(config: PreTrainedConfig) -> Any:
    """The class of transformers that AutoModel loads for `config`; None if there is none."""
    found: Any = MODEL_MAPPING.get(type(config), None)
    return found[0] if isinstance(found, tuple) else found


def _chosen(config: PreTrainedConfig, pooling: str) -> str:
    if pooling != "auto":
        return pooling
    return "cls" if config.model_type in CLASS_TOKEN else "pooler"


def _used(key: str, pooling: str) -> bool:
    return pooling == "pooler" or not key.startswith("pooler.")
