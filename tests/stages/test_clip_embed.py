"""The encoder `pixels` is a PCA of standardised pixels, fitted to the training rows alone."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxr.core.dataset import load_dataset
from cxr.embeddings.encoders.embed import network_batch
from cxr.embeddings.encoders.pixels import fit_components
from cxr.models.classifier import batch_size, embed_images
from cxr.models.encoders.load import frozen_encoder
from cxr.params import load_params
from stages import clip_embed
from tests.builders import (
    files_below,
    refused,
    save_classifier,
    small_classifier,
    write_packed,
    write_params,
)


def noise(count: int, size: int = 10) -> np.ndarray:
    """Noise in which a few patterns dominate, so that the order of the components is stable."""
    generator = np.random.default_rng(0)
    patterns = generator.normal(size=(5, size * size)) * np.array([40, 30, 20, 14, 9])[:, None]
    levels = 128 + generator.normal(size=(count, 5)) @ patterns + generator.normal(size=(count, size * size))
    return levels.clip(0, 255).astype(np.uint8).reshape(count, size, size)


TRAIN = np.arange(0, 120, 2)


def embed_pixels(images: np.ndarray, train: np.ndarray, dimensions: int) -> np.ndarray:
    return fit_components(images[train], dimensions).transform(images)


def test_equals_scikit_learns_pipeline_fitted_to_train():
    images = noise(120)
    flat = images.reshape(120, -1).astype(float)
    reference = make_pipeline(StandardScaler(), PCA(4, svd_solver="full")).fit(flat[TRAIN])
    expected = reference.transform(flat)

    embeddings = embed_pixels(images, TRAIN, 4)

    assert embeddings.dtype == np.float32
    # The sign of a component is arbitrary.
    signs = np.sign((embeddings * expected).sum(axis=0))
    np.testing.assert_allclose(embeddings * signs, expected, atol=2e-3)


def test_other_rows_do_not_change_the_fit():
    images = noise(120)
    before = embed_pixels(images, TRAIN, 4)
    changed = images.copy()
    changed[1::2] = np.random.default_rng(1).integers(0, 256, changed[1::2].shape)
    after = embed_pixels(changed, TRAIN, 4)
    assert np.array_equal(after[TRAIN], before[TRAIN])
    assert not np.array_equal(after[1::2], before[1::2])


def test_a_constant_pixel_adds_nothing():
    images = noise(120)
    images[:, 0, :] = 0
    framed, cut = embed_pixels(images, TRAIN, 4), embed_pixels(images[:, 1:], TRAIN, 4)
    assert np.isfinite(framed).all()
    np.testing.assert_allclose(abs(framed), abs(cut), atol=1e-3)


def test_large_images_give_the_same_bytes_and_nearly_the_same_components():
    images = noise(120, size=65)  # more than 4,096 pixels take the randomised solver
    embeddings = embed_pixels(images, TRAIN, 4)
    assert np.array_equal(embed_pixels(images, TRAIN, 4), embeddings)
    flat = images.reshape(120, -1).astype(float)
    exact = make_pipeline(StandardScaler(), PCA(4, svd_solver="full")).fit(flat[TRAIN]).transform(flat)
    for ours, theirs in zip(embeddings.T, exact.T, strict=True):
        assert abs(np.corrcoef(ours, theirs)[0, 1]) > 0.999


@pytest.mark.parametrize(
    ("rows", "size", "dimensions", "most"), [(60, 10, 61, 60), (60, 4, 17, 16), (1, 10, 64, 1)]
)
def test_more_dimensions_than_the_data_have_are_an_error(rows, size, dimensions, most):
    message = f"params.yaml: clip_embed.dimensions is {dimensions}; these images allow at most {most}"
    with refused(message):
        embed_pixels(noise(120, size), TRAIN[:rows], dimensions)


def test_as_many_dimensions_as_pixels_keep_all_distances():
    images = noise(120, 4)
    embeddings = embed_pixels(images, TRAIN, 16)
    scaled = (
        StandardScaler().fit(images.reshape(120, -1)[TRAIN].astype(float)).transform(images.reshape(120, -1))
    )
    ours, theirs = (np.linalg.norm(points - points[0], axis=1) for points in (embeddings, scaled))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_stage_embeds_every_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (20, 30), "val": (5, 5), "test": (5, 5)}, ["normal", "sick"])
    write_params(tmp_path, {"clip_embed.dimensions": 51})
    with refused("clip_embed.dimensions is 51", "at most 50"):
        clip_embed.main()
    assert "data/embeddings.npy" not in files_below(tmp_path)

    write_params(tmp_path, {"clip_embed.dimensions": 7})
    clip_embed.main()

    data = load_dataset()
    expected = embed_pixels(data.images, data.rows("train"), 7)
    assert np.array_equal(np.load("data/embeddings.npy"), expected)
    assert expected.shape == (70, 7)


def test_an_own_classifier_is_an_encoder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (20, 30), "val": (5, 5), "test": (5, 5)}, ["normal", "sick"])
    data, size = load_dataset(), load_dataset().images.shape[1]
    write_params(tmp_path, {"clip_embed.encoder": "classifier:own/first.safetensors"})
    with refused("own/first.safetensors: no such file"):
        clip_embed.main()
    model = small_classifier(members=2, size=size, input_size=16)
    save_classifier(model)
    (tmp_path / "models").rename("own")
    (tmp_path / "own/classifier.safetensors").rename("own/first.safetensors")
    with refused("own/first.json: no model here"):
        clip_embed.main()
    (tmp_path / "own/classifier.json").rename("own/first.json")
    clip_embed.main()
    expected = embed_images(model, data.images, torch.device("cpu"))
    np.testing.assert_allclose(np.load("data/embeddings.npy"), expected, atol=1e-6)
    assert expected.shape == (70, 256)
    assert network_batch(load_params().clip_embed) == batch_size(16)
    with refused("clip_embed.encoder is classifier:own/first.safetensors", "no published network"):
        frozen_encoder(load_params().clip_embed, None)
