"""Image towers of OpenCLIP (https://github.com/mlfoundations/open_clip)."""

from pathlib import Path

import open_clip
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.transform import PreprocessCfg
from torchvision.transforms import InterpolationMode

from cxr.core.fetch import Setting, file_name, from_hub, from_url, in_mirror, nearest, stated_hash
from cxr.embeddings.encoders.encoder import Encoder, Preparation
from cxr.models.weights import reading

CACHE = Path("~/.cache/clip").expanduser()  # where open_clip keeps what it downloads by URL


def load_openclip(name: str) -> Encoder:
    """name: `<model>/<pretrained>` as open_clip lists them. Features: `encode_image`, not normalised.

    Raises `UserError` if the model or the tag is unknown, or if the weights are unavailable or do not fit.
    """
    setting = Setting("clip_embed.encoder", f"open_clip:{name}")
    architecture, tag = name.split("/")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not tags:
        models = nearest(architecture, {model for model, _ in open_clip.list_pretrained()})
        raise setting.error(f"open_clip has no weights for a model {architecture}; nearest: {models}")
    published = open_clip.get_pretrained_cfg(architecture, tag)
    if not published:
        raise setting.error(f"{architecture} has no weights {tag}; nearest: {nearest(tag, tags)}")
    path = _weights(setting, published)
    with reading(setting, path):
        model = open_clip.create_model(
            architecture,
            str(path),
            # The activation that the weights were trained with: open_clip would only warn that it computes
            # ViT-B-32/openai, say, with another.
            force_quick_gelu=published.get("quick_gelu", False),
            force_preprocess_cfg=published,
            weights_only=True,
        )
    preparation = _preparation(PreprocessCfg(**model.visual.preprocess_cfg))
    return Encoder(
        preparation, model, model.encode_image, open_clip.get_model_config(architecture)["embed_dim"]
    )


def _weights(setting: Setting, published: dict) -> Path:
    url, hub = published.get("url", ""), published.get("hf_hub", "")
    # The hub before the URL, as in open_clip: OpenAI's URLs lead to TorchScript, which is code.
    if url and (in_mirror(file_name(url)) or not hub):
        return from_url(setting, url, _sha256(url), CACHE)
    repository, _, name = hub.rpartition("/")
    if not name:
        return from_hub(setting, repository, None, (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME))
    return from_hub(setting, repository, None, (Path(name).with_suffix(".safetensors").name, name))


def _sha256(url: str) -> str:
    """The hash, or its first digits, that publishers put into the folder's or the file's name."""
    if "openaipublic" in url:
        return url.split("/")[-2]
    return stated_hash(url)


def _preparation(settings: PreprocessCfg) -> Preparation:
    """For square images and square inputs open_clip's resize modes (shortest, longest, squash) are equal."""
    height, width = (settings.size, settings.size) if isinstance(settings.size, int) else settings.size
    return Preparation(
        (height, width),
        (0, 0, height, width),
        # "random" is bicubic in inference
        InterpolationMode.BILINEAR if settings.interpolation == "bilinear" else InterpolationMode.BICUBIC,
        tuple(255 * value for value in settings.mean),
        tuple(255 * value for value in settings.std),
    )
