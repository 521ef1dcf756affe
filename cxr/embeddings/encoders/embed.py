"""Images to embeddings by the encoder that params.yaml names."""

from collections.abc import Callable
from functools import partial
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
    from cxr.core.engine import on_ray

    device = configure(compute.device, compute.threads)
    if on_ray() and isinstance(images, np.memmap):
        from cxr.embeddings.encoders.in_shards import embed_in_shards
        from cxr.models.encoders.encoder import BATCH

        make = partial(network_embedder, settings, device)
        return embed_in_shards(make, Path(str(images.filename)), BATCH, [settings], device, compute)
    return embed_by_network(images, settings, device)


def embed_by_network(images: np.ndarray, settings: ClipEmbed, device: "torch.device") -> np.ndarray:
    """`embed_dataset` with any encoder but `pixels`."""
    return network_embedder(settings, device)(images)


def network_embedder(settings: ClipEmbed, device: "torch.device") -> Callable[[np.ndarray], np.ndarray]:
    """`embed_by_network` of one encoder, which is loaded once."""
    library, _, file = settings.encoder.partition(":")
    if library == "classifier":
        from cxr.models.classifier import embed_images, load_classifier

        if not (path := Path(file)).is_file():
            raise UserError(
                f"params.yaml: clip_embed.encoder: {file}: no such file; name a classifier.safetensors"
            )
        classifier = load_classifier(path)
        return lambda images: embed_images(classifier, images, device)
    from cxr.models.encoders.encoder import encode
    from cxr.models.encoders.load import load_encoder

    encoder = load_encoder(settings)
    if ":" not in settings.encoder:
        from cxr.models.encoders.huggingface import hasten

        hasten(encoder.model)
    return lambda images: encode(encoder, images, device, settings.precision)
