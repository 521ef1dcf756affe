"""The p-value is conformal, and what no radiograph looks like is marked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from cxr.data.phantom.cohort import make_phantoms
from cxr.inference.typicality import LIMIT, PARTS, ValDistances
from cxr.inference.typicality_model import (
    PATH,
    fit_typicality,
    load_typicality,
    measure,
    save_typicality,
    shrinking_rows,
)
from cxr.models.classifier import embed_images, predict
from cxr.models.preprocess import Preprocess
from tests.builders import noise_images, refused, small_classifier

CPU = torch.device("cpu")
MODEL = small_classifier(members=1, size=28, input_size=28)


@pytest.fixture(scope="module")
def phantoms():
    """Train, val and new synthetic radiographs, (N, 28, 28) uint8."""
    images = [
        make_phantoms((n // 2, n // 2), 28, seed, "train").images for n, seed in ((160, 0), (80, 1), (60, 2))
    ]
    return [np.array(of_split) for of_split in images]


@pytest.fixture(scope="module")
def fitted(phantoms):
    return fit_typicality(MODEL, phantoms[0], phantoms[1], CPU)


def distances(fitted, images):
    return measure(fitted, MODEL, images, predict(MODEL, images, CPU), CPU)


def test_p_values_are_those_of_a_count():
    """Of the image and the val images together."""
    generator = np.random.default_rng(0)
    val, new = (generator.integers(0, 30, (n, 2)).astype(np.float32) for n in (30, 40))  # with ties
    new[0] = 99
    p = ValDistances(val).p_values(new)
    assert p.shape == (40, 3)
    assert p[0].tolist() == [1 / 31] * 3
    for image, (combined, *parts) in zip(new, p, strict=True):
        together = np.vstack([val, image])
        counts = np.array([[sum(together[:, k] >= one[k]) for k in (0, 1)] for one in together])
        assert parts == pytest.approx(counts[-1] / 31)
        smallest = counts.min(axis=1)
        assert combined == pytest.approx(sum(smallest <= smallest[-1]) / 31)


def test_an_image_has_a_reason_only_if_it_is_marked():
    """Low in one part alone, which a correction for two parts does not mark."""
    val, new = (np.random.default_rng(0).normal(size=(n, 2)) for n in (200, 2000))
    p, marks = ValDistances(val).p_values(new), ValDistances(val).typicality(new)
    low, marked = (p[:, 1:] < LIMIT).any(axis=1), p[:, 0] < LIMIT
    assert (low & ~marked).sum() > 20
    for image, unlike, of_image in zip(marks, marked, p, strict=True):
        assert image.unlike == unlike == (image.reason is not None)
        parts = [part for part, value in zip(PARTS, of_image[1:], strict=True) if value < LIMIT]
        assert list(image.parts) == (parts if unlike else [])


def test_p_values_do_not_depend_on_the_other_images(monkeypatch):
    val, new = (np.random.default_rng(0).normal(size=(n, 2)) for n in (30, 10))
    together = ValDistances(val).p_values(new)
    monkeypatch.setattr("cxr.inference.typicality.BATCH", 3)
    np.testing.assert_array_equal(ValDistances(val).p_values(new), together)
    np.testing.assert_array_equal(ValDistances(val).p_values(new[4:5]), together[4:5])


def test_a_twentieth_of_images_like_val_is_marked():
    generator = np.random.default_rng(0)
    shares = []
    for scale in (1.0, 1e6):  # a part with heavy tails has no more weight
        val, new = (generator.standard_t(2, (n, 2)) * [1, scale] for n in (2000, 20_000))
        p = ValDistances(val).p_values(new)
        shares.append((p < LIMIT).mean(axis=0))
        assert p.min() > 0
        assert p.max() <= 1
    np.testing.assert_allclose(shares, LIMIT, atol=0.015)


def test_few_val_images_mark_none():
    far, val = np.full((1, 2), 9.0), np.zeros((20, 2))
    (mark,) = ValDistances(val[:19]).typicality(far)
    assert (mark.p_value, mark.unlike, mark.reason) == (0.05, False, None)
    (mark,) = ValDistances(val).typicality(far)
    assert mark.unlike
    assert "pixels" in mark.reason
    assert "features" in mark.reason


@pytest.mark.parametrize(("part", "word"), [(0, "pixels"), (1, "features")])
def test_the_reason_names_the_part(part, word):
    val = np.random.default_rng(0).normal(size=(100, 2))
    image = np.zeros((1, 2))
    image[0, part] = 9
    (mark,) = ValDistances(val).typicality(image)
    assert mark.parts == (word,)
    assert word in mark.reason
    assert mark.to_json() == {
        "typicality": round(mark.p_value, 6),
        "unlike": True,
        "unlike_reason": mark.reason,
    }


def test_distance_in_pixels_is_a_correlation(fitted, phantoms):
    images = phantoms[2][:10]
    expected = []
    for image in images:
        highest = max(np.corrcoef(image.ravel(), other)[0, 1] for other in fitted.prototypes.numpy())
        deviation = image.std()
        expected.append(1 - highest * deviation / (deviation + 1))  # one grey level more
    np.testing.assert_allclose(distances(fitted, images)[:, 0], expected, atol=1e-4)
    # Brightness and contrast do not count.
    darker = distances(fitted, images // 2 + 30)[:, 0]
    np.testing.assert_allclose(darker, expected, atol=0.05)
    assert np.ptp(expected) > 0.1


def test_distance_in_features_is_that_of_probabilistic_pca(fitted, phantoms):
    embedding = embed_images(MODEL, phantoms[0], CPU).astype(np.float64)
    reference = PCA(len(fitted.components), svd_solver="full").fit(embedding)
    offset = embed_images(MODEL, phantoms[2], CPU).astype(np.float64) - reference.mean_
    expected = np.sqrt(np.einsum("ni,ij,nj->n", offset, reference.get_precision(), offset))
    np.testing.assert_allclose(distances(fitted, phantoms[2])[:, 1], expected, rtol=0.02)


def test_what_no_radiograph_looks_like_is_marked(fitted, phantoms):
    new, val = phantoms[2], fitted.val.numpy()
    levels = np.arange(0, 256, 15, dtype=np.uint8)[:, None, None]
    unlike = {
        "inverted": 255 - new,
        "upside down": new[:, ::-1],
        "sideways": np.rot90(new, axes=(1, 2)),
        "blank": np.broadcast_to(levels, (len(levels), 28, 28)),
        "noise": noise_images(30, 28),
    }
    for kind, images in unlike.items():
        assert (ValDistances(val).p_values(distances(fitted, images))[:, 0] < LIMIT).mean() >= 0.95, kind
    assert (ValDistances(val).p_values(distances(fitted, new))[:, 0] < LIMIT).mean() <= 0.15


@pytest.mark.parametrize("size", [16, 28, 64])
def test_larger_images_are_reduced_as_in_preprocessing(size):
    side = min(28, size)
    grey = torch.rand(3, 1, size, size, generator=torch.Generator().manual_seed(0))
    rows = shrinking_rows(size)
    expected = Preprocess(side, (0.0,), (1.0,)).resize(grey)
    torch.testing.assert_close(rows @ grey @ rows.T, expected, rtol=0, atol=1e-5)


def test_zoomed_copies_do_not_count(fitted, phantoms):
    """The embedding of the index, which the ONNX file has too, leaves them out."""
    zoomed, images = MODEL.with_tta("flip_zoom"), phantoms[2][:5]
    found = measure(fitted, zoomed, images, predict(zoomed, images, CPU), CPU)
    np.testing.assert_allclose(found, distances(fitted, images), rtol=1e-4)


def test_same_bytes_whatever_the_number_of_threads(fitted, phantoms, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_typicality(fitted)
    before = PATH.read_bytes()
    with threadpool_limits(2):
        save_typicality(fit_typicality(MODEL, phantoms[0], phantoms[1], CPU))
    assert PATH.read_bytes() == before
    for name, value in load_typicality().state_dict().items():
        assert torch.equal(value, fitted.state_dict()[name]), name


def test_a_large_training_set_is_sampled(phantoms, monkeypatch):
    monkeypatch.setattr("cxr.inference.typicality_model.SAMPLE", 60)
    model = fit_typicality(MODEL, phantoms[0], phantoms[1], CPU)
    assert len(model.prototypes) == len(model.components) == 3


@pytest.mark.parametrize("value", [0, 255])
def test_a_training_set_of_equal_images_has_finite_distances(value):
    model = fit_typicality(MODEL, np.full((5, 28, 28), value, np.uint8), noise_images(3, 28), CPU)
    assert torch.isfinite(model.val).all()


def test_missing_or_foreign_files_are_errors(fitted, phantoms, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(f"{PATH}: no typicality here", "`dvc repro`", "`dvc pull`"):
        load_typicality()
    PATH.parent.mkdir()
    Path(PATH).write_bytes(b"no tensors")
    with refused(f"{PATH}: damaged", "`dvc repro calibrate`"):
        load_typicality()
    other = small_classifier(members=2, size=28, input_size=28)
    with refused(f"{PATH}: of another classifier", "`dvc repro calibrate`"):
        measure(fitted, other, phantoms[2], predict(other, phantoms[2], CPU), CPU)
    assert replace(other.spec, members=1) == MODEL.spec
