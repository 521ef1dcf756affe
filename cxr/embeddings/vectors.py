"""Vectors of images, for a gallery and for queries to it, and the hash that identifies what made them."""

import hashlib

import numpy as np
import torch

from cxr.core import dataset
from cxr.core.dataset import Dataset, load_dataset
from cxr.core.errors import UserError
from cxr.core.files import sha256
from cxr.embeddings.encoders.embed import embed_by_network
from cxr.embeddings.encoders.pixels import fit_components
from cxr.embeddings.gallery import Embedding, Meta, Vectors
from cxr.embeddings.index_kinds import Metric
from cxr.models import classifier
from cxr.models.classifier import Classifier, embed_images, load_classifier
from cxr.params import ClipEmbed, Params

STORED = "data/embeddings.npy"


def embed_new(meta: Meta, images: np.ndarray, params: Params, device: torch.device) -> Vectors:
    """Vectors of query images for the gallery of `meta`; the images need not belong to the data set.

    images: (N, S, S) uint8. Raises `UserError` if the model, the data set to which `pixels` is fitted, or the
    encoder's weights are missing, or if the images have another size than the gallery's.
    """
    if meta.embedding == "classifier":
        return classifier_vectors(load_classifier(), images, device, meta.metric)
    settings = params.clip_embed
    if settings.encoder != "pixels":
        return Vectors(embed_by_network(images, settings, device), network_sha256(settings))
    data = load_dataset()  # to whose training images `pixels` is fitted
    train = data.images[data.rows("train")]
    # The components are not stored: the same training images give the same ones.
    return Vectors(
        fit_components(train, settings.dimensions).transform(images), pixels_sha256(data, settings)
    )


def embed_rows(
    embedding: Embedding,
    metric: Metric,
    data: Dataset,
    rows: np.ndarray,
    params: Params,
    device: torch.device,
) -> Vectors:
    """Vectors of the data set's images `rows`, (N,) int, to be compared by `metric`; the encoder's are read
    from data/embeddings.npy.

    Raises `UserError` if the model is missing or data/embeddings.npy belongs to other images.
    """
    if embedding == "classifier":
        return classifier_vectors(load_classifier(), data.images[rows], device, metric)
    stored = np.load(STORED)
    if len(stored) != len(data.labels):
        raise UserError(
            f"{STORED} holds {len(stored):,} radiographs, {dataset.LABELS} {len(data.labels):,}; "
            "run `dvc repro clip-embed`"
        )
    settings = params.clip_embed
    source = pixels_sha256(data, settings) if settings.encoder == "pixels" else network_sha256(settings)
    return Vectors(stored[rows], source)


def classifier_vectors(
    model: Classifier, images: np.ndarray, device: torch.device, metric: Metric = "cosine"
) -> Vectors:
    """Penultimate features of `model`, whose weights are models/classifier.safetensors; for the cosine each
    member's are L2-normalised, for l2 they are as they are.

    images: (N, size, size) uint8.
    """
    values = embed_images(model, images, device, normalised=metric == "cosine")
    return Vectors(values, sha256(classifier.WEIGHTS))


def network_sha256(settings: ClipEmbed) -> str:
    """Of the name, the revision and the pooling of a published encoder."""
    identity = f"{settings.encoder}@{settings.revision} {settings.pooling}"
    return hashlib.sha256(identity.encode()).hexdigest()


def pixels_sha256(data: Dataset, settings: ClipEmbed) -> str:
    """Of the images and the setting to which the encoder `pixels` is fitted, not of the fitted components,
    whose last digits differ between types of CPU."""
    train = data.images[data.rows("train")]
    return hashlib.sha256(f"pixels {settings.dimensions}\n".encode() + train.tobytes()).hexdigest()
