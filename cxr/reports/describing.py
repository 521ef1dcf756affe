"""Test films as the cases that writers are given."""

import numpy as np
import torch

from cxr import calibration
from cxr.data.packed import Packed
from cxr.embedders import embed_rows
from cxr.errors import UserError
from cxr.explain import gradcam
from cxr.gallery import Gallery
from cxr.likelihood import decide
from cxr.models import classifier
from cxr.params import Params
from cxr.predictions import Predictions
from cxr.reports import exposure, zones
from cxr.reports.case import Case, Neighbour

SIMILAR = 5  # films of the gallery beside each case
METRICS = {"cosine": "cosine", "l2": "Euclidean distance"}


def describe(
    data: Packed, test: Predictions, chosen: np.ndarray, params: Params, device: torch.device
) -> list[Case]:
    """The films of `test` at the positions `chosen`, (n,) int. The labels of test films have no part in it.

    Raises `UserError` if model, calibration or gallery are missing or do not belong to each other or to the
    films, or if the gallery holds fewer than five films.
    """
    rows = test.rows[chosen]
    films = data.images[rows]
    decisions = decide(test.ensemble[chosen], None)
    heats = gradcam(classifier.load(), films, decisions, device)
    similar, metric = neighbours(data, rows, params, device)
    reference = exposure.measure(data.images[data.rows("train")])
    stated = prevalence(data.classes)
    return [
        Case(
            row=int(row),
            film=film,
            probabilities=dict(zip(data.classes, probabilities.tolist(), strict=True)),
            prevalence=stated,
            heat=heat,
            zones=zones.shares(heat),
            exposure=exposure.rank(film, reference),
            neighbours=found,
            metric=metric,
        )
        for row, film, probabilities, heat, found in zip(
            rows, films, test.ensemble[chosen], heats, similar, strict=True
        )
    ]


def neighbours(
    data: Packed, rows: np.ndarray, params: Params, device: torch.device
) -> tuple[list[tuple[Neighbour, ...]], str]:
    """The films of the gallery nearest to each of the data set's `rows`, and what their values are.

    Raises `UserError` if the gallery holds a test film, whose label is a secret here.
    """
    gallery = Gallery.load()
    if np.isin(gallery.meta.rows, data.rows("test")).any() or max(gallery.meta.rows) >= len(data.labels):
        raise UserError(
            "models/index.json: its rows are no train or val films of data/labels.csv; run `dvc repro index`"
        )
    found = gallery.search(embed_rows(gallery.meta.embedding, data, rows, params, device), SIMILAR)
    similar = [
        tuple(
            Neighbour(int(row), data.classes[data.labels[row]], float(value))
            for row, value in zip(of_film, values, strict=True)
        )
        for of_film, values in zip(found.rows, found.values, strict=True)
    ]
    return similar, METRICS[gallery.meta.metric]


def prevalence(classes: list[str]) -> dict[str, float]:
    """Raises `UserError` if the calibration does not say what its probabilities refer to."""
    stated = calibration.load().prevalence
    if stated is None or len(stated) != len(classes):
        raise UserError(
            f"{calibration.PATH}: states no prevalence of {', '.join(classes)}; build it again with "
            "`dvc repro calibrate`"
        )
    return dict(zip(classes, stated, strict=True))
