"""The cases that report writers are given: test radiographs, with all that may be known about them without
their labels."""

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
from cxr.inference.typicality import Typicality, ValDistances
from cxr.inference.typicality_model import load_typicality, measure
from cxr.models.classifier import load_classifier, predict
from cxr.params import Params, Report
from cxr.reports import measurements
from cxr.reports.measurements import Rank, rank_in_training, zone_fractions

SIMILAR = 5  # radiographs of the gallery beside each case


@dataclass(frozen=True)
class Neighbour:
    """A radiograph of the gallery. row: of the data set. name: of its class. value: cosine similarity (-1 to
    1) or Euclidean distance (0 or more) to the case."""

    row: int
    name: str
    value: float


@dataclass(frozen=True)
class Case:
    """A radiograph and what was measured on it.

    row: of the data set. image: (S, S) uint8. probabilities: calibrated, by class name, in the data set's
    order. prevalence: of the classes, to which the probabilities refer. threshold: of the decision, see
    `cxr.core.probabilities.decide`. heat: (S, S) float32 from 0 to 1, the Grad-CAM map of the decision.
    zones: the fraction of its mass in each zone, empty for a map of zeros. image_statistics: values and their
    ranks in the training radiographs (both see `cxr.reports.measurements`). neighbours: nearest first.
    metric: of their values, cosine or distance. typicality: whether it is like the training images.
    """

    row: int
    image: np.ndarray
    probabilities: Mapping[str, float]
    prevalence: Mapping[str, float]
    threshold: float | None
    heat: np.ndarray
    zones: Mapping[str, float]
    image_statistics: Mapping[str, Rank]
    neighbours: tuple[Neighbour, ...]
    metric: str
    typicality: Typicality

    @property
    def size(self) -> int:
        """Pixels a side of the stored radiograph."""
        return len(self.image)

    @property
    def decision(self) -> str:
        """The released decision, as `cxr predict` and the service give it."""
        names, values = zip(*self.probabilities.items(), strict=True)
        return str(names[decide(np.array([values]), self.threshold)[0]])


def prevalence_in_words(prevalence: Mapping[str, float]) -> str:
    return ", ".join(f"{100 * fraction:.0f} % {name}" for name, fraction in prevalence.items())


def probabilities_in_words(probabilities: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in probabilities.items())


def describe_cases(
    data: Dataset, test: Predictions, chosen: np.ndarray, params: Params, device: torch.device
) -> list[Case]:
    """The radiographs of `test` at the positions `chosen`, (n,) int. Labels of test radiographs are not used.

    Raises `UserError` if model, calibration or gallery are missing or do not belong to each other or to the
    radiographs, or if the gallery holds fewer than five radiographs.
    """
    rows = test.rows[chosen]
    images = data.images[rows]
    threshold = load_calibration().threshold
    decisions = decide(test.ensemble[chosen], threshold)
    classifier, like_training = load_classifier(), load_typicality()
    heats = gradcam(classifier, images, decisions, device)
    distances = measure(like_training, classifier, images, predict(classifier, images, device), device)
    marks = ValDistances(like_training.val.numpy()).typicality(distances)
    nearest, metric = nearest_in_gallery(data, rows, params, device)
    reference = measurements.image_statistics(data.images[data.rows("train")])
    stated = prevalence(data.classes)
    return [
        Case(
            row=int(row),
            image=image,
            probabilities=dict(zip(data.classes, probabilities.tolist(), strict=True)),
            prevalence=stated,
            threshold=threshold,
            heat=heat,
            zones=zone_fractions(heat),
            image_statistics=rank_in_training(image, reference),
            neighbours=neighbours,
            metric=metric,
            typicality=mark,
        )
        for row, image, probabilities, heat, neighbours, mark in zip(
            rows, images, test.ensemble[chosen], heats, nearest, marks, strict=True
        )
    ]


def nearest_in_gallery(
    data: Dataset, rows: np.ndarray, params: Params, device: torch.device
) -> tuple[list[tuple[Neighbour, ...]], str]:
    """The radiographs of the gallery nearest to each of the data set's `rows`, (n,) int, and the metric of
    their values. A radiograph that is in the gallery is not among its own neighbours.

    Raises `UserError` if the gallery belongs to another data set.
    """
    gallery = Gallery.load()
    gallery.check(data)
    meta = gallery.meta
    vectors = embed_rows(meta.embedding, meta.metric, data, rows, params, device)
    result = gallery.search(vectors, SIMILAR, own=rows)
    nearest = [
        tuple(
            Neighbour(int(row), data.classes[data.labels[row]], float(value))
            for row, value in zip(of_image, values, strict=True)
        )
        for of_image, values in zip(result.rows, result.values, strict=True)
    ]
    return nearest, gallery.meta.measure


def prevalence(classes: list[str]) -> dict[str, float]:
    """By class name, of the calibration. Raises `UserError` if it does not state one."""
    stated = load_calibration().prevalence
    if stated is None or len(stated) != len(classes):
        raise UserError(
            f"{calibration.PATH}: states no prevalence of {', '.join(classes)}; build it again with "
            "`dvc repro calibrate`"
        )
    return dict(zip(classes, stated, strict=True))


def choose_cases(labels: np.ndarray, decisions: np.ndarray, settings: Report, seed: int) -> np.ndarray:
    """(min(settings.cases, N),) int64 positions, in random order. The same arguments give the same positions.

    labels, decisions: (N,) int. With `settings.sample` stratified every radiograph has the same chance, and
    each class its proportion, to within one radiograph (systematic sampling). With errors_first the strata
    are label and decision, with equal numbers from each as far as it has enough, so errors are far more
    frequent than among all radiographs.
    """
    generator = np.random.default_rng(seed)
    count = min(settings.cases, len(labels))
    choose = _systematic if settings.sample == "stratified" else _equal_strata
    return generator.permutation(choose(labels, decisions, count, generator))


def _systematic(
    labels: np.ndarray, decisions: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    steps = (np.arange(count) + generator.random()) * len(labels) / count
    return by_class[steps.astype(int)]


def _equal_strata(
    labels: np.ndarray, decisions: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    pairs = sorted(
        set(zip(labels.tolist(), decisions.tolist(), strict=True)), key=lambda p: (p[0] != p[1], p)
    )
    strata = [
        generator.permutation(np.flatnonzero((labels == label) & (decisions == decision)))
        for label, decision in pairs
    ]
    # The first radiograph of each stratum, then the second of each, and so on.
    order = sorted((index, number) for number, stratum in enumerate(strata) for index in range(len(stratum)))
    return np.array([strata[number][index] for index, number in order[:count]])
