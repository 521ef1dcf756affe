"""Image towers of OpenCLIP (https://github.com/mlfoundations/open_clip), without the towers for text."""

from pathlib import Path
from typing import Any, NamedTuple

import open_clip
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.convert import convert_state_dict
from open_clip.factory import load_state_dict
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import Tensor, nn

from cxr.core.fetch import Setting, file_name, from_hub, from_url, in_mirror, nearest, stated_hash
from cxr.core.files import read_json
from cxr.models.weights import reading

CACHE = Path("~/.cache/clip").expanduser()  # where open_clip keeps what it downloads by URL
CONFIG = "open_clip_config.json"
TOWER = "visual."  # the name of the image tower's tensors in files
# The smallest text tower: a published one may need files of other repositories, and its output is not used.
NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}


class Published(NamedTuple):
    """path: of the weights. model, preprocess: settings as open_clip writes them."""

    path: Path
    model: dict[str, Any]
    preprocess: dict[str, Any]


class ImageTower(nn.Module):
    """(n, 3, height, width) normalised float to (n, d): `encode_image`, not normalised.

    settings: of the model, as open_clip writes them; kept as far as they concern the image tower.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = {
            "embed_dim": settings["embed_dim"],
            "vision_cfg": settings["vision_cfg"] | {"timm_model_pretrained": False},
            "quick_gelu": settings.get("quick_gelu", False),
        }
        self.visual = open_clip.CustomTextCLIP(**self.settings, text_cfg=NO_TEXT).visual

    def forward(self, x: Tensor) -> Tensor:
        features = self.visual(x)
        return features[0] if isinstance(features, tuple) else features  # CoCa's gives the tokens as well


def load_image_tower(setting: Setting, name: str, revision: str) -> tuple[ImageTower, PreprocessCfg]:
    """The image tower and the settings of its preprocessing.

    name: `<model>/<pretrained>` as open_clip lists them, or `hf-hub:<org>/<model>`, of `revision`. Raises
    `UserError` if the model or the tag is unknown, or if the weights are unavailable or do not fit.
    """
    library, _, repository = name.rpartition(":")
    published = _of_hub(setting, repository, revision) if library else _listed(setting, name)
    with reading(setting, published.path):
        tower = ImageTower(published.model)
        state = convert_state_dict(tower, load_state_dict(str(published.path), weights_only=True))
        tower.visual.load_state_dict(
            {key.removeprefix(TOWER): value for key, value in state.items() if key.startswith(TOWER)}
        )
        own = {"size": tower.visual.image_size}
        preprocess = PreprocessCfg(**merge_preprocess_dict(own, published.preprocess))
    return tower, preprocess


def _of_hub(setting: Setting, repository: str, revision: str) -> Published:
    names = (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    path = from_hub(setting, repository, revision, names, (CONFIG,))
    with reading(setting, path.parent / CONFIG):
        settings = read_json(path.parent / CONFIG)
        return Published(path, settings["model_cfg"], settings.get("preprocess_cfg", {}))


def _listed(setting: Setting, name: str) -> Published:
    architecture, tag = name.split("/")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not tags:
        models = nearest(architecture, {model for model, _ in open_clip.list_pretrained()})
        raise setting.error(f"open_clip has no weights for a model {architecture}; nearest: {models}")
    published = open_clip.get_pretrained_cfg(architecture, tag)
    if not published:
        raise setting.error(f"{architecture} has no weights {tag}; nearest: {nearest(tag, tags)}")
    settings: Any = open_clip.get_model_config(architecture)
    if published.get("quick_gelu", False):
        # The activation that the weights were trained with: open_clip would only warn that it computes
        # ViT-B-32/openai, say, with another.
        settings |= {"quick_gelu": True}
    return Published(_weights(setting, published), settings, published)


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
