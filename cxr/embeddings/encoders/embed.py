"""Images to embeddings by the encoder that params.yaml names."""

from typing import TYPE_CHECKING

import numpy as np

from cxr.embeddings.encoders.pixels import fit_components
from cxr.params import ClipEmbed, Compute

if TYPE_CHECKING:
    from cxr.embeddings.encoders.encoder import Encoder


def embed_dataset(images: np.ndarray, train: np.ndarray, settings: ClipEmbed, compute: Compute) -> np.ndarray:
    """images: (N, S, S) uint8, may be a memory map. train: (n,) int rows to which `pixels` is fitted; the
    other encoders are not fitted. Returns (N, d) float32.

    Raises `UserError` if the encoder is unknown, or if its weights are unavailable or not what they claim.
    """
    if settings.encoder == "pixels":
        return fit_components(images[train], settings.dimensions).transform(images)
    # PyTorch takes seconds to import, and `pixels` does without it.
    from cxr.core.device import configure
    from cxr.embeddings.encoders.encoder import encode

    device = configure(compute.device, compute.threads)
    return encode(load_encoder(settings), images, device, settings.precision)


def load_encoder(settings: ClipEmbed) -> "Encoder":
    """The network of `settings.encoder`, any but `pixels`. Raises `UserError` as `embed_dataset` does."""
    library, _, name = settings.encoder.partition(":")
    if library == "open_clip":
        from cxr.embeddings.encoders.openclip import load_openclip

        return load_openclip(name, settings.revision)
    if library == "torchvision":
        from cxr.embeddings.encoders.torchvision_features import load_torchvision

        return load_torchvision(name)
    if library == "timm":
        from cxr.embeddings.encoders.timm_features import load_timm

        return load_timm(name)
    from cxr.embeddings.encoders.huggingface import load_huggingface

    return load_huggingface(settings.encoder, settings.revision, settings.pooling)
