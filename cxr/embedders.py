"""Films to the vectors that a gallery holds and is asked for, and the hash that says what made them."""

import hashlib

import numpy as np
import torch

from cxr.data import packed
from cxr.data.packed import Packed
from cxr.encoders import pixels
from cxr.encoders.embed import load_network
from cxr.encoders.network import encode
from cxr.errors import UserError
from cxr.gallery import Embedding, Meta, Vectors
from cxr.models import classifier
from cxr.models.classifier import Classifier
from cxr.models.views import with_views
from cxr.params import ClipEmbed, Params

STORED = "data/embeddings.npy"


def embed_films(meta: Meta, films: np.ndarray, params: Params, device: torch.device) -> Vectors:
    """Vectors to search the gallery of `meta` with, of films that need not belong to the data set.

    films: (N, S, S) uint8. Raises `UserError` if the model, the data set that `pixels` is fitted to or the
    encoder's weights are missing, or if the films have another size than the gallery's.
    """
    if meta.embedding == "classifier":
        return classifier_vectors(classifier.load(), films, device)
    data, settings = packed.load(), params.clip_embed
    if settings.encoder == "pixels":
        # They are not stored: the same training films give the same components.
        values = pixels.fit(data.images[data.rows("train")], settings.dimensions).transform(films)
    else:
        values = encode(load_network(settings), films, device, settings.precision)
    return Vectors(values, encoder_sha256(data, settings))


def embed_rows(
    embedding: Embedding, data: Packed, rows: np.ndarray, params: Params, device: torch.device
) -> Vectors:
    """Vectors of the data set's films `rows`, (N,) int; those of the encoder are read, not computed again.

    Raises `UserError` if the model is missing or data/embeddings.npy belongs to other films.
    """
    if embedding == "classifier":
        return classifier_vectors(classifier.load(), data.images[rows], device)
    stored = np.load(STORED)
    if len(stored) != len(data.labels):
        raise UserError(
            f"{STORED} holds {len(stored):,} films, {packed.LABELS} {len(data.labels):,}; "
            "run `dvc repro clip-embed`"
        )
    return Vectors(stored[rows], encoder_sha256(data, params.clip_embed))


def classifier_vectors(model: Classifier, images: np.ndarray, device: torch.device) -> Vectors:
    """Penultimate features of `model`, which models/classifier.safetensors holds.

    images: (N, size, size) uint8. Without zoomed views, which take three times as long and help neighbours
    little.
    """
    tta = "flip" if model.spec.tta == "flip_zoom" else model.spec.tta
    values = classifier.predict(with_views(model, tta), images, device).embeddings
    return Vectors(values, hashlib.sha256(classifier.WEIGHTS.read_bytes()).hexdigest())


def encoder_sha256(data: Packed, settings: ClipEmbed) -> str:
    """Of what defines the encoder: its name and revision, for `pixels` the training films it is fitted to
    (not the fitted numbers, whose last digits differ between types of CPU)."""
    defining = hashlib.sha256(settings.encoder.encode())
    if settings.encoder == "pixels":
        defining.update(str(settings.dimensions).encode())
        defining.update(data.images[data.rows("train")].tobytes())
    else:
        defining.update(settings.revision.encode())
    return defining.hexdigest()
