"""Image towers of OpenCLIP (https://github.com/mlfoundations/open_clip) with their own preprocessing."""

from open_clip.transform import PreprocessCfg
from torchvision.transforms import InterpolationMode

from cxr.core.fetch import Setting
from cxr.models.encoders.encoder import Encoder, Preparation
from cxr.models.encoders.openclip_models import load_image_tower


def load_openclip(name: str, revision: str) -> Encoder:
    """name: `<model>/<pretrained>` as open_clip lists them, or `hf-hub:<org>/<model>`, of `revision`.
    Features: `encode_image`, not normalised.

    Raises `UserError` if the model or the tag is unknown, or if the weights are unavailable or do not fit.
    """
    setting = Setting("clip_embed.encoder", f"open_clip:{name}")
    tower, preprocess = load_image_tower(setting, name, revision)
    origin = {"library": "open_clip", "settings": tower.settings}
    return Encoder.of(_preparation(preprocess), tower, origin)


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
        resizing="pillow",
    )
