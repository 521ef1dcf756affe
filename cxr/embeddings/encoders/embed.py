"""Images to embeddings by the encoder that params.yaml names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxr.core.errors import UserError
from cxr.embeddings.encoders.pixels import fit_components
from cxr.params import ClipEmbed, Compute

if TYPE_CHECKING:
    import torch

    from cxr.core.dataset import ImageRows

CLASSIFIER = "classifier:"  # before the file of a classifier that is the encoder


def embed_dataset(images: np.ndarray, train: np.ndarray, settings: ClipEmbed, compute: Compute) -> np.ndarray:
    """The parts of `embedded_parts`, joined: (N, d) float32."""
    with embedded_parts(images, train, settings, compute) as parts:
        return np.concatenate(parts)


@contextmanager
def embedded_parts(
    images: np.ndarray, train: np.ndarray, settings: ClipEmbed, compute: Compute
) -> Iterator[list[np.ndarray]]:
    """images: (N, S, S) uint8, may be a memory map. train: (n,) int rows to which `pixels` is fitted; the
    other encoders are not fitted. Yields (n, d) float32 embeddings of consecutive images: of all, or on a
    cluster of a shard each, files that are removed when the block ends without an error.

    Raises `UserError` if the encoder is unknown, or if its weights are unavailable or not what they claim.
    """
    if settings.encoder == "pixels":
        yield [fit_components(images[train], settings.dimensions).transform(images)]
        return
    # PyTorch takes seconds to import, and `pixels` does without it.
    from cxr.core.device import configure
    from cxr.core.engine import on_ray

    device = configure(compute.device, compute.threads)
    if on_ray() and isinstance(images, np.memmap):
        from cxr.embeddings.encoders.in_shards import RowsOfFile, embedded_shards

        make, batch = partial(network_embedder, settings, device), network_batch(settings)
        with embedded_shards(make, RowsOfFile.of(images), batch, [settings], [], compute) as parts:
            yield parts
    else:
        yield [embed_by_network(images, settings, device)]


def network_batch(settings: ClipEmbed) -> int:
    """Images in a batch of `embed_by_network`."""
    if settings.encoder.startswith(CLASSIFIER):
        from cxr.models.classifier import batch_size, load_spec

        path = _classifier_file(settings)
        return batch_size(load_spec(path.with_suffix(".json")).input_size)
    from cxr.models.encoders.encoder import BATCH

    return BATCH


def embed_by_network(images: np.ndarray, settings: ClipEmbed, device: "torch.device") -> np.ndarray:
    """`embed_dataset` with any encoder but `pixels`."""
    return network_embedder(settings, device)(images)


def network_embedder(
    settings: ClipEmbed, device: "torch.device"
) -> "Callable[[np.ndarray | ImageRows], np.ndarray]":
    """`embed_by_network` of one encoder, which is loaded once."""
    if settings.encoder.startswith(CLASSIFIER):
        from cxr.models.classifier import embed_images, load_classifier

        classifier = load_classifier(_classifier_file(settings))
        return lambda images: embed_images(classifier, images, device)
    from cxr.models.encoders.encoder import encode
    from cxr.models.encoders.load import load_encoder

    encoder = load_encoder(settings)
    if ":" not in settings.encoder:
        from cxr.models.encoders.huggingface import hasten

        hasten(encoder.model)
    return lambda images: encode(encoder, images, device, settings.precision)


def _classifier_file(settings: ClipEmbed) -> Path:
    """Raises `UserError` if there is none."""
    path = Path(settings.encoder.removeprefix(CLASSIFIER))
    if not path.is_file():
        raise UserError(
            f"params.yaml: clip_embed.encoder: {path}: no such file; name a classifier.safetensors"
        )
    return path
