"""The packed data set is read as it was written; which classes are too small to measure on."""

import hashlib

import numpy as np
import pytest

from cxr.core.dataset import (
    LABELS,
    SMALL,
    ImageRows,
    class_order,
    count_levels,
    hash_images,
    load_dataset,
    load_opacities,
    mean_and_std,
    save_dataset,
    small_classes,
)
from cxr.core.files import read_csv
from cxr.evaluation.statistics import wilson
from tests.builders import noise_images


def test_small_classes_are_named():
    assert small_classes({"normal": SMALL, "pneumonia": SMALL + 100}) == ""
    assert small_classes({"normal": 6, "pneumonia": SMALL - 1}) == f"6 of normal, {SMALL - 1} of pneumonia"
    assert small_classes({"normal": 6, "pneumonia": SMALL}) == "6 of normal"


@pytest.mark.parametrize(("images", "wide"), [(SMALL - 1, True), (SMALL, False)])
def test_limit_is_where_an_interval_spans_20_points(images, wide):
    low, high = wilson(0.95, images)
    assert (high - low >= 0.2) == wide


@pytest.mark.parametrize("normal", ["normal", "Normal", "NORMAL"])
def test_normal_is_the_first_class(normal):
    """Whatever stands before it in the alphabet: with two classes the second one is positive."""
    assert class_order(["covid", normal, "Abscess", "covid"]) == [normal, "Abscess", "covid"]


def test_the_class_that_denies_a_finding_is_the_first():
    assert class_order(["atelectasis", "no atelectasis"]) == ["no atelectasis", "atelectasis"]
    assert class_order(["No abscess", "abscess", "nodule"]) == ["No abscess", "abscess", "nodule"]


def test_data_set_is_read_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, splits = noise_images(6), ["test", "train", "val", "train", "val", "test"]
    names = ["sick", "normal", "sick", "sick", "normal", "normal"]
    table = [(split, name, "", "", "") for split, name in zip(splits, names, strict=True)]
    save_dataset(images, table, "medmnist")
    data = load_dataset()
    np.testing.assert_array_equal(data.images, images)
    assert data.images.dtype == np.uint8
    assert data.classes == ["normal", "sick"]
    assert data.labels.tolist() == [1, 0, 1, 1, 0, 0]
    assert data.reading == "medmnist"
    assert [data.rows(split).tolist() for split in ("train", "val", "test")] == [[1, 3], [2, 4], [0, 5]]
    assert data.rows("val", "train").tolist() == [1, 2, 3, 4]
    assert [row["row"] for row in read_csv(LABELS)] == list("012345")
    assert load_opacities() is None
    save_dataset(images, table, "medmnist", 255 - images)
    np.testing.assert_array_equal(load_opacities(), 255 - images)
    kept = np.array([1, 2, 5])
    save_dataset(images, [table[row] for row in kept], "medmnist", 255 - images, kept)
    np.testing.assert_array_equal(load_dataset().images, images[kept])
    np.testing.assert_array_equal(load_opacities(), 255 - images[kept])


def test_hash_is_of_every_pixel():
    image = noise_images(1)
    (found,) = hash_images(image)
    assert found == hashlib.sha256(image.tobytes()).hexdigest()
    for row in (0, 1, 15):
        changed = image.copy()
        changed[0, row, 3] ^= 1
        assert hash_images(changed) != [found]


def test_grey_levels_are_those_of_all_images():
    images = noise_images(300)  # more than are counted at a time
    counts = count_levels(images)
    assert counts.tolist() == np.bincount(images.ravel(), minlength=256).tolist()
    assert mean_and_std(counts) == pytest.approx((images.mean(), images.std()))


def test_rows_of_a_memory_map_are_those_of_an_array(tmp_path):
    np.save(tmp_path / "images.npy", noise_images(20))
    mapped, rows = np.load(tmp_path / "images.npy", mmap_mode="r"), np.array([19, 3, 3, 7, 0])
    found = ImageRows(mapped, rows)
    assert (len(found), found.shape) == (5, (5, 16, 16))
    for part in (slice(0, 2), slice(2, 9), slice(None)):
        np.testing.assert_array_equal(found[part], noise_images(20)[rows][part])
