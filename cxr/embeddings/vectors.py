"""Vectors of images, for a gallery and for queries to it, and the hash that identifies what made them."""

import hashlib
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from cxr.core import dataset
from cxr.core.dataset import Dataset, ImageRows, load_dataset
from cxr.core.device import configure
from cxr.core.engine import on_ray
from cxr.core.errors import UserError
from cxr.core.files import sha256
from cxr.embeddings.encoders.embed import embed_by_network
from cxr.embeddings.encoders.pixels import fit_components
from cxr.embeddings.gallery import Embedding, Meta, Vectors
from cxr.embeddings.index_kinds import Metric
from cxr.models import classifier
from cxr.models.classifier import Classifier, batch_size, embed_images, load_classifier, load_spec
from cxr.params import ClipEmbed, Compute, Params

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
    from data/embeddings.npy, the classifier's are computed, on a cluster in shards.

    Raises `UserError` if the model is missing or data/embeddings.npy belongs to other images.
    """
    if embedding == "classifier":
        if on_ray() and isinstance(data.images, np.memmap):
            return Vectors(_on_cluster(data.images, rows, metric, params.compute), sha256(classifier.WEIGHTS))
        return classifier_vectors(load_classifier(), ImageRows(data.images, rows), device, metric)
    stored = np.load(STORED, mmap_mode="r")
    if len(stored) != len(data.labels):
        raise UserError(
            f"{STORED} holds {len(stored):,} radiographs, {dataset.LABELS} {len(data.labels):,}; "
            "run `dvc repro clip-embed`"
        )
    settings = params.clip_embed
    source = pixels_sha256(data, settings) if settings.encoder == "pixels" else network_sha256(settings)
    return Vectors(stored[rows], source)


def _on_cluster(images: np.memmap, rows: np.ndarray, metric: Metric, compute: Compute) -> np.ndarray:
    """The values of `classifier_vectors` of `images[rows]`, (N, d) float32."""
    from cxr.embeddings.encoders.in_shards import RowsOfFile, embedded_shards

    spec, files = load_spec(classifier.SPEC), [classifier.WEIGHTS, classifier.SPEC]
    make = partial(_classifier_embedder, metric, compute)
    batch = batch_size(spec.input_size)
    with embedded_shards(make, RowsOfFile.of(images, rows), batch, [metric], files, compute) as parts:
        return np.concatenate(parts)


def _classifier_embedder(metric: Metric, compute: Compute) -> Callable[[ImageRows], np.ndarray]:
    """On a node: the classifier, loaded once."""
    model, device = load_classifier(), configure(compute.device, compute.threads)
    return lambda images: classifier_vectors(model, images, device, metric).values


def classifier_vectors(
    model: Classifier, images: np.ndarray | ImageRows, device: torch.device, metric: Metric = "cosine"
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
