"""Images to embeddings by the encoder that params.yaml names."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxr.core.errors import UserError
from cxr.embeddings.encoders.pixels import fit_components
from cxr.params import ClipEmbed, Compute

if TYPE_CHECKING:
    import torch


def embed_dataset(images: np.ndarray, train: np.ndarray, settings: ClipEmbed, compute: Compute) -> np.ndarray:
    """images: (N, S, S) uint8, may be a memory map. train: (n,) int rows to which `pixels` is fitted; the
    other encoders are not fitted. Returns (N, d) float32.

    Raises `UserError` if the encoder is unknown, or if its weights are unavailable or not what they claim.
    """
    if settings.encoder == "pixels":
        return fit_components(images[train], settings.dimensions).transform(images)
    # PyTorch takes seconds to import, and `pixels` does without it.
    from cxr.core.device import configure

    return embed_by_network(images, settings, configure(compute.device, compute.threads))


def embed_by_network(images: np.ndarray, settings: ClipEmbed, device: "torch.device") -> np.ndarray:
    """`embed_dataset` with any encoder but `pixels`."""
    library, _, file = settings.encoder.partition(":")
    if library == "classifier":
        from cxr.models.classifier import embed_images, load_classifier

        if not (path := Path(file)).is_file():
            raise UserError(
                f"params.yaml: clip_embed.encoder: {file}: no such file; name a classifier.safetensors"
            )
        return embed_images(load_classifier(path), images, device)
    from cxr.models.encoders.encoder import encode
    from cxr.models.encoders.load import load_encoder

    encoder = load_encoder(settings)
    if ":" not in settings.encoder:
        from cxr.models.encoders.huggingface import hasten

        hasten(encoder.model)
    return encode(encoder, images, device, settings.precision)
