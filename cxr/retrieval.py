"""Similar films: a FAISS index over the classifier's features, and how often it finds the same class."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import faiss
import numpy as np
import torch

from cxr.errors import UserError
from cxr.files import atomic, read_json, write_json
from cxr.models.classifier import WEIGHTS, Classifier, predict
from cxr.models.views import with_views

INDEX = Path("models/index.faiss")
META = Path("models/index.json")


@dataclass(frozen=True)
class Meta:
    """What models/index.faiss holds. rows: the data set's row of each vector, in the index's order."""

    embedding: str
    metric: str
    dimensions: int
    model_sha256: str
    rows: list[int]


def embed(model: Classifier, images: np.ndarray, device: torch.device) -> np.ndarray:
    """(N, d) float32, what the index is made of and asked for. images: (N, size, size) uint8.

    Without zoomed views, which take three times as long and help neighbours little.
    """
    tta = "flip" if model.spec.tta == "flip_zoom" else model.spec.tta
    return predict(with_views(model, tta), images, device).embeddings


def build_index(embeddings: np.ndarray) -> faiss.IndexFlatIP:
    """An exact index over (N, d) float32; after bringing rows to length 1 the inner product is the cosine."""
    index = faiss.IndexFlatIP(embeddings.shape[1])
    index.add(unit(embeddings))
    return index


def unit(embeddings: np.ndarray) -> np.ndarray:
    """(N, d) float32 rows of length 1. A row of zeros stays one."""
    rows = np.array(embeddings, dtype=np.float32, order="C")
    faiss.normalize_L2(rows)
    return rows


def save(index: faiss.Index, meta: Meta) -> None:
    with atomic(INDEX) as temporary:
        faiss.write_index(index, str(temporary))
    write_json(META, asdict(meta))


def load() -> tuple[faiss.Index, Meta]:
    """Raises `UserError` if the index has not been built, or was built with another model."""
    if not (INDEX.is_file() and META.is_file()):
        raise UserError(f"{INDEX}: no index here; build it with `dvc repro`, or fetch it with `dvc pull`")
    meta = Meta(**read_json(META))
    if meta.model_sha256 != model_sha256():
        raise UserError(f"{INDEX} was built with another model than {WEIGHTS}; run `dvc repro index`")
    return faiss.read_index(str(INDEX)), meta


def model_sha256() -> str:
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()


def precision_at(k: int, gallery: np.ndarray, queries: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """(Q,) share of a query's `k` nearest that have its class.

    gallery: (N,) and queries: (Q,) int labels; neighbours: (Q, >= k) positions in the gallery, nearest first.
    """
    return (gallery[neighbours[:, :k]] == queries[:, None]).mean(axis=1)


def chance(gallery: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(Q,) the precision of neighbours drawn at random: the share of the query's class in the gallery."""
    return (np.bincount(gallery, minlength=queries.max() + 1) / len(gallery))[queries]
