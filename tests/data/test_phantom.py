"""The synthetic radiographs: reproducible, split by patient, and similar to chest radiographs."""

from __future__ import annotations

import numpy as np
import pytest

from cxr.data.phantom.cohort import CLASSES, MAX_IMAGES_PER_PATIENT, SPLITS, Phantoms, make_phantoms
from cxr.data.phantom.drawing import Streams

COUNTS = (40, 60, 30)


@pytest.fixture(scope="module")
def cohorts() -> dict[str, Phantoms]:
    return {split: make_phantoms(COUNTS, 28, 0, split) for split in SPLITS}


def lung_fields(images: np.ndarray) -> np.ndarray:
    """(N,) mean grey of the mid-lung fields of 28-pixel radiographs, in standard deviations of the
    radiograph."""
    x = images.astype(float)
    x = (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True)
    return np.concatenate([x[:, 9:17, 4:9], x[:, 9:17, 19:24]], axis=2).mean((1, 2))


def test_shapes_dtypes_and_counts(cohorts: dict[str, Phantoms]) -> None:
    for cohort in cohorts.values():
        assert cohort.images.shape == (sum(COUNTS), 28, 28)
        assert cohort.images.dtype == np.uint8
        assert cohort.labels.dtype == cohort.patients.dtype == np.int64
        assert np.bincount(cohort.labels).tolist() == list(COUNTS)


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (2, 0, 1)])
def test_empty_classes(counts: tuple[int, ...]) -> None:
    cohort = make_phantoms(counts, 16, 0, "val")
    assert cohort.images.shape == (sum(counts), 16, 16)
    assert np.bincount(cohort.labels, minlength=len(counts)).tolist() == list(counts)


def test_same_arguments_same_bytes() -> None:
    first, second = (make_phantoms((9, 9, 9), 28, 0, "train") for _ in range(2))
    for name in ("images", "labels", "patients"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_seeds_differ() -> None:
    first, second = (make_phantoms((9, 9, 9), 28, seed, "train") for seed in (0, 1))
    assert (first.images[:, None] == second.images[None]).mean((2, 3)).max() < 0.5


@pytest.mark.parametrize("size", [112, 224])
def test_sizes_show_the_same_radiographs(size: int) -> None:
    small, large = (make_phantoms((2, 3, 3), s, 7, "train") for s in (28, size))
    assert (small.labels == large.labels).all()
    assert (small.patients == large.patients).all()
    shrunk = large.images.reshape(8, 28, size // 28, 28, size // 28).mean((2, 4))
    for a, b in zip(small.images, shrunk, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("size", [16, 29, 100, 512])
def test_any_size(size: int) -> None:
    assert make_phantoms((1, 1), size, 0, "test").images.shape == (2, size, size)


def test_order_is_shuffled(cohorts: dict[str, Phantoms]) -> None:
    labels, patients = cohorts["train"].labels, cohorts["train"].patients
    assert abs(labels[:65].mean() - labels[65:].mean()) < 0.3
    assert abs(np.corrcoef(labels, patients)[0, 1]) < 0.25


def test_a_patient_has_one_split_one_class_and_few_radiographs(cohorts: dict[str, Phantoms]) -> None:
    ids = {split: set(cohort.patients.tolist()) for split, cohort in cohorts.items()}
    assert sum(map(len, ids.values())) == len(set.union(*ids.values()))
    for cohort in cohorts.values():
        patients, first, counts = np.unique(cohort.patients, return_index=True, return_counts=True)
        label_of = dict(zip(patients.tolist(), cohort.labels[first].tolist(), strict=True))
        assert [label_of[p] for p in cohort.patients.tolist()] == cohort.labels.tolist()
        assert set(counts.tolist()) == set(range(1, MAX_IMAGES_PER_PATIENT + 1))


def test_radiographs_of_a_patient_are_similar_but_not_equal(cohorts: dict[str, Phantoms]) -> None:
    cohort = cohorts["train"]
    flat = cohort.images.reshape(sum(COUNTS), -1).astype(float)
    correlation = np.corrcoef(flat)
    same = (cohort.patients[:, None] == cohort.patients) & ~np.eye(sum(COUNTS), dtype=bool)
    peers = (cohort.labels[:, None] == cohort.labels) & ~same & ~np.eye(sum(COUNTS), dtype=bool)
    assert correlation[same].mean() > correlation[peers].mean() + 0.03
    assert correlation[same].max() < 0.9999


def test_splits_show_different_images(cohorts: dict[str, Phantoms]) -> None:
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        pairs = (cohorts[a].images[:, None] == cohorts[b].images[None]).mean((2, 3))
        assert pairs.max() < 0.5


def test_test_split_is_shifted_and_val_is_not(cohorts: dict[str, Phantoms]) -> None:
    normal = {s: cohort.images[cohort.labels == 0].astype(float) for s, cohort in cohorts.items()}
    mean = {s: x.mean() for s, x in normal.items()}
    assert mean["test"] < mean["train"] - 4
    assert abs(mean["val"] - mean["train"]) < 4


def test_lungs_are_darker_than_mediastinum_and_abdomen(cohorts: dict[str, Phantoms]) -> None:
    x = cohorts["train"].images.astype(float)
    lungs = np.concatenate([x[:, 9:17, 5:9], x[:, 9:17, 20:24]], axis=2).mean((1, 2))
    assert (lungs < x[:, 9:17, 13:15].mean((1, 2))).all()
    assert (lungs < x[:, 24:27, 8:20].mean((1, 2))).mean() > 0.98


def test_disease_brightens_the_lungs_and_overlaps_with_normal(cohorts: dict[str, Phantoms]) -> None:
    cohort = cohorts["train"]
    normal, pneumonia = (lung_fields(cohort.images[cohort.labels == c]) for c in (0, 1))
    assert pneumonia.mean() > normal.mean() + 0.1
    assert np.quantile(pneumonia, 0.2) < np.quantile(normal, 0.8)


def test_tuberculosis_lies_in_the_upper_lobes() -> None:
    cohort = make_phantoms((150, 0, 150), 28, 3, "train")
    normal, disease = (cohort.images[cohort.labels == c].mean(0) for c in (0, CLASSES.index("tuberculosis")))
    change = (disease - normal)[:, [*range(4, 10), *range(18, 24)]].mean(1)
    assert change[6:12].mean() > change[14:20].mean() + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1, 1), 28, 0, "training"), "split: expected one of train, val, test, got 'training'"),
        (((1, 1), 15, 0, "train"), "size: expected 16 to 512 pixels, got 15"),
        (((1, 1), 513, 0, "train"), "size: expected 16 to 512 pixels, got 513"),
        (((1, -1), 28, 0, "train"), "counts: must not be negative"),
        (((1,), 28, 0, "train"), "counts: expected 2 or 3 class counts"),
        (((1, 1, 1, 1), 28, 0, "train"), "counts: expected 2 or 3 class counts"),
        (((1, 1), 28, -1, "train"), "seed: must not be negative, got -1"),
    ],
)
def test_invalid_arguments_are_an_error(
    arguments: tuple[tuple[int, ...], int, int, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_phantoms(*arguments)


def test_parameters_of_the_anatomy_are_within_two_and_a_half_standard_deviations():
    streams = Streams(np.random.SeedSequence(number) for number in range(500))
    draws = streams.table({"first": (1.0, 2.0), "second": (-3.0, 0.5)})
    for name, mean, deviation in (("first", 1.0, 2.0), ("second", -3.0, 0.5)):
        standard = (draws[name] - mean) / deviation
        assert abs(standard).max() == pytest.approx(2.5, abs=1e-3)  # some were beyond
        assert abs(standard.mean()) < 0.15
        assert standard.std() == pytest.approx(1, abs=0.1)
