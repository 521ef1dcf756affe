"""The cases that writers are given: which test radiographs, and all that may be known of them, nothing of
their label."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from cxr.core.dataset import Dataset
from cxr.core.errors import UserError
from cxr.core.probabilities import decide
from cxr.embeddings.gallery import Gallery
from cxr.embeddings.vectors import embed_rows
from cxr.inference import calibration
from cxr.inference.calibration import load_calibration
from cxr.inference.gradcam import gradcam
from cxr.inference.predictions import Predictions
from cxr.models.classifier import load_classifier
from cxr.params import Params
from cxr.reports import measurements
from cxr.reports.measurements import Rank, rank_in_training, zone_fractions

SIMILAR = 5  # radiographs of the gallery beside each case
METRICS = {"cosine": "cosine", "l2": "Euclidean distance"}


@dataclass(frozen=True)
class Neighbour:
    """A radiograph of the gallery. row: of the data set. name: its class. value: cosine or Euclidean
    distance."""

    row: int
    name: str
    value: float


@dataclass(frozen=True)
class Case:
    """A radiograph and what was measured on it.

    row: of the data set. radiograph: (S, S) uint8. probabilities: calibrated, by class name, in the data
    set's order. prevalence: the shares of the classes to which they refer. heat: (S, S) float32, the Grad-CAM
    of the most probable class, 0 to 1. zones: shares of its mass (see `cxr.reports.measurements`), empty
    where it is 0. exposure: see `cxr.reports.measurements`. neighbours: nearest first. metric: what their
    values are.
    """

    row: int
    image: np.ndarray
    probabilities: Mapping[str, float]
    prevalence: Mapping[str, float]
    heat: np.ndarray
    zones: Mapping[str, float]
    image_statistics: Mapping[str, Rank]
    neighbours: tuple[Neighbour, ...]
    metric: str

    @property
    def size(self) -> int:
        """Pixels a side of the stored radiograph."""
        return len(self.image)

    @property
    def decision(self) -> str:
        """The most probable class; of equal ones the first."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])


def prevalence_in_words(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{100 * share:.0f} % {name}" for name, share in shares.items())


def probabilities_in_words(probabilities: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in probabilities.items())


def describe_cases(
    data: Dataset, test: Predictions, chosen: np.ndarray, params: Params, device: torch.device
) -> list[Case]:
    """The radiographs of `test` at the positions `chosen`, (n,) int. The labels of test radiographs have no
    part in it.

    Raises `UserError` if model, calibration or gallery are missing or do not belong to each other or to the
    radiographs, or if the gallery holds fewer than five radiographs.
    """
    rows = test.rows[chosen]
    images = data.images[rows]
    decisions = decide(test.ensemble[chosen], None)
    heats = gradcam(load_classifier(), images, decisions, device)
    similar, metric = nearest_in_gallery(data, rows, params, device)
    reference = measurements.image_statistics(data.images[data.rows("train")])
    stated = prevalence(data.classes)
    return [
        Case(
            row=int(row),
            image=image,
            probabilities=dict(zip(data.classes, probabilities.tolist(), strict=True)),
            prevalence=stated,
            heat=heat,
            zones=zone_fractions(heat),
            image_statistics=rank_in_training(image, reference),
            neighbours=found,
            metric=metric,
        )
        for row, image, probabilities, heat, found in zip(
            rows, images, test.ensemble[chosen], heats, similar, strict=True
        )
    ]


def nearest_in_gallery(
    data: Dataset, rows: np.ndarray, params: Params, device: torch.device
) -> tuple[list[tuple[Neighbour, ...]], str]:
    """The radiographs of the gallery nearest to each of the data set's `rows`, and what their values are.

    Raises `UserError` if the gallery holds a test radiograph, whose label is a secret here.
    """
    gallery = Gallery.load()
    if np.isin(gallery.meta.rows, data.rows("test")).any() or max(gallery.meta.rows) >= len(data.labels):
        raise UserError(
            "models/index.json: its rows are no train or val radiographs of data/labels.csv; run `dvc repro index`"
        )
    found = gallery.search(embed_rows(gallery.meta.embedding, data, rows, params, device), SIMILAR)
    similar = [
        tuple(
            Neighbour(int(row), data.classes[data.labels[row]], float(value))
            for row, value in zip(of_image, values, strict=True)
        )
        for of_image, values in zip(found.rows, found.values, strict=True)
    ]
    return similar, METRICS[gallery.meta.metric]


def prevalence(classes: list[str]) -> dict[str, float]:
    """Raises `UserError` if the calibration does not say what its probabilities refer to."""
    stated = load_calibration().prevalence
    if stated is None or len(stated) != len(classes):
        raise UserError(
            f"{calibration.PATH}: states no prevalence of {', '.join(classes)}; build it again with "
            "`dvc repro calibrate`"
        )
    return dict(zip(classes, stated, strict=True))


def choose_cases(labels: np.ndarray, decisions: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(min(count, N),) int64 positions, in an order that says nothing about them.

    labels, decisions: (N,) int. The kinds are each class decided correctly and each error that occurs. As
    many radiographs are drawn of one as of another, as far as there are any, so that errors are far more
    frequent than in all radiographs. The same arguments give the same radiographs.
    """
    generator = np.random.default_rng(seed)
    pairs = sorted(
        set(zip(labels.tolist(), decisions.tolist(), strict=True)), key=lambda p: (p[0] != p[1], p)
    )
    kinds = [
        generator.permutation(np.flatnonzero((labels == truth) & (decisions == taken)))
        for truth, taken in pairs
    ]
    # Radiograph by radiograph, the first of each kind, then the second of each.
    places = sorted((place, kind) for kind, images in enumerate(kinds) for place in range(len(images)))
    return generator.permutation([kinds[kind][place] for place, kind in places[:count]])
