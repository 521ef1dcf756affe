"""Vision towers of CLIP models from the Hugging Face hub (CLIP: https://arxiv.org/abs/2103.00020)."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPVisionModel
from transformers.activations import QuickGELUActivation
from transformers.image_utils import pil_torch_interpolation_mapping
from transformers.utils import logging

from cxr.core.fetch import Setting, from_hub
from cxr.core.files import read_json
from cxr.embeddings.encoders.encoder import Encoder, Preparation
from cxr.models.weights import reading

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
OTHERS = ("config.json", "preprocessor_config.json", "processor_config.json", "model-*.safetensors")
MODEL_TYPES = ("clip", "clip_vision_model")


class FusedQuickGELU(nn.Module):
    """x sigmoid(1.702 x) (QuickGELU, https://arxiv.org/abs/1606.08415) with one kernel less, as the SiLU of
    1.702 x."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x * 1.702, inplace=True).div_(1.702)


class ClassTokenOnly(nn.Module):
    """`inner` of the first token alone, (n, 1, d), which is broadcast when it is added to all tokens,
    (n, tokens, d)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor) -> Tensor:
        return self.inner(tokens[:, :1])


def load_huggingface(name: str, revision: str) -> Encoder:
    """name: `<org>/<model>`. Its features are `CLIPVisionModel`'s `pooler_output`, not normalised.

    Raises `UserError` if the weights are unavailable, not of a CLIP model, or incomplete.
    """
    setting = Setting("clip_embed.encoder", name)
    path = from_hub(setting, name, revision, WEIGHTS, OTHERS)
    folder = path.parent
    logging.set_verbosity_error()  # else it lists the text tower's weights as unexpected
    logging.disable_progress_bar()
    with reading(setting, folder):
        # A tower of another model would load as well, with fresh weights wherever the names differ.
        model_type = read_json(folder / "config.json").get("model_type")
        if model_type not in MODEL_TYPES:
            raise setting.error(f"{folder} holds a model of type {model_type}, not clip; choose a CLIP model")
        processor = CLIPImageProcessor.from_pretrained(folder)
        loaded: Any = CLIPVisionModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise setting.error(
            f"{path} lacks weights, {missing[0]} among them; replace it by the published file"
        )
    return clip_encoder(model, processor)


def clip_encoder(model: CLIPVisionModel, processor: CLIPImageProcessor) -> Encoder:
    """`model`, changed in place to give the same `pooler_output` in nine tenths of the time."""
    layers: Any = model.encoder.layers
    for layer in layers:
        if isinstance(layer.mlp.activation_fn, QuickGELUActivation):
            layer.mlp.activation_fn = FusedQuickGELU()
    last = layers[-1]  # of which only the class token is read
    last.mlp, last.self_attn.out_proj = ClassTokenOnly(last.mlp), ClassTokenOnly(last.self_attn.out_proj)
    return Encoder(_preparation(processor), model, lambda x: model(x).pooler_output, model.config.hidden_size)


def _preparation(processor: Any) -> Preparation:
    """What `processor` does to a square image."""
    edge = processor.size.shortest_edge
    height, width = (edge, edge) if edge else (processor.size.height, processor.size.width)
    crop = (0, 0, height, width)
    if processor.do_center_crop:
        rows, columns = processor.crop_size.height, processor.crop_size.width
        crop = (int((height - rows) / 2), int((width - columns) / 2), rows, columns)
    return Preparation(
        (height, width),
        crop,
        pil_torch_interpolation_mapping[processor.resample],
        tuple(value / processor.rescale_factor for value in processor.image_mean),
        tuple(value / processor.rescale_factor for value in processor.image_std),
    )
