"""Vectors carry the hash of what made them: the classifier's file, or the encoder and its data."""

import hashlib

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from cxr import params
from cxr.core.dataset import IMAGES, LABELS, load_dataset
from cxr.core.files import write_npy
from cxr.embeddings.gallery import Meta
from cxr.embeddings.vectors import STORED, classifier_vectors, embed_new, embed_rows
from cxr.models import classifier
from cxr.models.classifier import predict
from cxr.models.preprocess import to_grey
from cxr.params import load_params
from stages import clip_embed
from tests.builders import (
    noise_images,
    refused,
    save_classifier,
    small_classifier,
    write_packed,
    write_params,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (20, 30), "val": (5, 5), "test": (5, 5)}, ["normal", "sick"])


def meta(embedding: str) -> Meta:
    return Meta(embedding, "cosine", "flat", 0, "", [])


def parameters(**changes: object) -> params.Params:
    changes = {"clip_embed.dimensions": 7, "compute.threads": 1, "compute.device": "cpu"} | {
        f"clip_embed.{name}": value for name, value in changes.items()
    }
    return load_params(write_params(LABELS.parent.parent, changes))


def test_classifier_gives_its_flip_averaged_features_and_the_hash_of_its_file():
    images = noise_images(9)
    for tta in ("flip", "flip_zoom", "none"):
        model = small_classifier(tta=tta)
        save_classifier(model)
        vectors = classifier_vectors(model, images, CPU)
        # Zoomed copies are left out, so a classifier without them gives the same.
        expected = predict(small_classifier(tta="none" if tta == "none" else "flip"), images, CPU).embeddings
        assert np.array_equal(vectors.values, expected)
        assert vectors.source_sha256 == hashlib.sha256(classifier.WEIGHTS.read_bytes()).hexdigest()
        for others in (
            embed_new(meta("classifier"), images, parameters(), CPU),
            embed_rows("classifier", "cosine", load_dataset(), np.arange(3), parameters(), CPU),
        ):
            assert others.source_sha256 == vectors.source_sha256


def test_euclidean_distances_are_of_the_features_as_they_are():
    """Those of one network are the penultimate features, averaged over the image and its mirror image."""
    images = noise_images(9)
    model = small_classifier(members=1)
    save_classifier(model)
    network, grey = model.members[0], to_grey(torch.from_numpy(images))
    with torch.no_grad():
        copies = [network.features(model.preprocess(copy)) for copy in (grey, grey.flip(-1))]
    expected = torch.stack(copies).mean(dim=0).numpy()
    assert np.abs(np.linalg.norm(expected, axis=1) - 1).min() > 0.01  # not of length 1
    raw = embed_new(Meta("classifier", "l2", "flat", 0, "", []), images, parameters(), CPU).values
    np.testing.assert_allclose(raw, expected, rtol=1e-5, atol=1e-6)
    data = load_dataset()
    of_rows = embed_rows("classifier", "l2", data, np.arange(3), parameters(), CPU).values
    assert np.array_equal(of_rows, classifier_vectors(model, data.images[:3], CPU, "l2").values)
    cosine = classifier_vectors(model, images, CPU).values
    np.testing.assert_allclose(cosine, raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=1e-5)


def test_new_images_get_the_components_of_the_training_images():
    settings = parameters()
    clip_embed.main()
    data = load_dataset()
    rows = np.array([3, 50, 60, 2])
    stored = embed_rows("encoder", "cosine", data, rows, settings, CPU)
    assert np.array_equal(stored.values, np.load(STORED)[rows])
    again = embed_new(meta("encoder"), data.images[rows], settings, CPU)
    np.testing.assert_allclose(again.values, stored.values, atol=1e-4)
    assert again.values.dtype == np.float32
    assert again.source_sha256 == stored.source_sha256


def test_the_source_of_pixels_is_train_and_the_number_of_components():
    parameters()
    clip_embed.main()

    def source(**changes: object) -> str:
        return embed_rows(
            "encoder", "cosine", load_dataset(), np.arange(2), parameters(**changes), CPU
        ).source_sha256

    before = source()
    assert source(dimensions=6) != before
    for split, same in (("test", True), ("val", True), ("train", False)):
        data = load_dataset()
        images = np.array(data.images)
        images[data.rows(split)[0]] = 0
        write_npy(IMAGES, images)
        assert (source() == before) is same


def test_weights_are_identified_by_encoder_and_revision(tmp_path, monkeypatch):
    folder = tmp_path / "mirror" / "acme" / "tiny"
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=32, patch_size=16)).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path / "mirror"))
    settings = parameters(encoder="acme/tiny", precision="float32")
    clip_embed.main()
    data = load_dataset()
    stored = embed_rows("encoder", "cosine", data, np.arange(4), settings, CPU)
    again = embed_new(meta("encoder"), data.images[:4], settings, CPU)
    np.testing.assert_allclose(again.values, stored.values, atol=1e-5)
    assert again.source_sha256 == stored.source_sha256
    for changes in ({"encoder": "acme/other"}, {"encoder": "acme/tiny", "revision": "main"}, {}):
        other = embed_rows("encoder", "cosine", data, np.arange(4), parameters(**changes), CPU)
        assert other.source_sha256 != stored.source_sha256


def test_images_of_another_size_are_an_error():
    parameters()
    clip_embed.main()
    with refused("images have 400 pixels, the encoder pixels was fitted to 256"):
        embed_new(meta("encoder"), noise_images(2, 20), parameters(), CPU)
    save_classifier(small_classifier())
    with refused("images are 20 x 20 pixels, the classifier takes 16 x 16"):
        embed_new(meta("classifier"), noise_images(2, 20), parameters(), CPU)


def test_embeddings_of_other_images_are_an_error():
    write_npy(STORED, np.zeros((69, 7), np.float32))
    with refused("data/embeddings.npy holds 69 radiographs, data/labels.csv 70", "dvc repro clip-embed"):
        embed_rows("encoder", "cosine", load_dataset(), np.arange(2), parameters(), CPU)


def test_pixels_without_their_training_images_are_an_error():
    IMAGES.unlink()
    with refused("data/images.npy: no data set here", "dvc pull"):
        embed_new(meta("encoder"), noise_images(2), parameters(), CPU)
