"""Predictions of the ensemble, and the files of the released classifier."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cxr.core.files import read_json, sha256, write_json
from cxr.models import classifier
from cxr.models.classifier import build_member, load_classifier, predict
from tests.builders import (
    empty_mirror,
    files_below,
    noise_images,
    refused,
    save_classifier,
    settings,
    small_classifier,
)

CPU = torch.device("cpu")


def test_prediction_leaves_the_classifier_differentiable():
    # Grad-CAM needs gradients after a prediction, and so does training after one of the untrained network.
    model, images = small_classifier(members=1), noise_images(4)
    predict(model, images, CPU)
    probabilities, _ = model(torch.from_numpy(images))
    probabilities[0, :, 1].sum().backward()
    assert model.members[0].head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("k", [2, 3, 5])
def test_subclass_probabilities_are_summed(k):
    outputs = ["normal", *(f"pneumonia_{i}" for i in range(k)), "tuberculosis"]
    of_class = [0] + [1] * k + [2]
    classes = ["normal", "pneumonia", "tuberculosis"]
    model = small_classifier(outputs=outputs, output_classes=of_class, classes=classes, tta="none")
    images = noise_images(9)
    prediction = predict(model, images, CPU)
    x = (torch.from_numpy(images)[:, None].float() / 255 - 0.4) / 0.2
    for member, probabilities in zip(model.members, prediction.probabilities, strict=True):
        with torch.inference_mode():
            p = member(x).softmax(dim=1).numpy()
        expected = np.stack([p[:, 0], p[:, 1:-1].sum(axis=1), p[:, -1]], axis=1)
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(prediction.mean, prediction.probabilities.mean(axis=0))
    np.testing.assert_allclose(prediction.mean.sum(axis=1), 1, atol=1e-5)


def test_all_members_have_the_same_weight_in_the_embedding():
    embeddings = predict(small_classifier(members=3), noise_images(5), CPU).embeddings
    assert embeddings.shape == (5, 3 * 128)
    np.testing.assert_allclose(np.linalg.norm(embeddings.reshape(5, 3, 128), axis=2), 1, atol=1e-5)


def test_mirror_image_has_the_same_probabilities_with_tta_only():
    images = noise_images(20)
    for tta in ("flip", "flip_zoom", "none"):
        model = small_classifier(tta=tta)
        straight, mirrored = (predict(model, batch, CPU) for batch in (images, images[:, :, ::-1]))
        difference = abs(straight.probabilities - mirrored.probabilities).max()
        assert difference > 0.01 if tta == "none" else difference < 1e-5
        assert np.allclose(straight.embeddings, mirrored.embeddings, atol=1e-5) == (tta != "none")


def test_batch_size_does_not_change_predictions(monkeypatch):
    images, model = noise_images(20), small_classifier()
    whole = predict(model, images, CPU)
    monkeypatch.setattr(classifier, "batch_size", lambda _: 7)
    np.testing.assert_allclose(predict(model, images, CPU).probabilities, whole.probabilities, atol=1e-5)


def test_saved_classifier_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, images = small_classifier(members=3), noise_images(10)
    save_classifier(model)
    assert files_below(tmp_path) == ["models/classifier.json", "models/classifier.safetensors"]
    assert load_file(classifier.WEIGHTS).keys() == model.state_dict().keys()
    loaded = load_classifier()
    assert loaded.spec == model.spec
    assert not loaded.training
    before, after = predict(model, images, CPU), predict(loaded, images, CPU)
    assert np.array_equal(before.probabilities, after.probabilities)
    assert np.array_equal(before.embeddings, after.embeddings)


@pytest.mark.parametrize("missing", ["classifier.json", "classifier.safetensors"])
def test_missing_model_is_an_error(tmp_path, monkeypatch, missing):
    monkeypatch.chdir(tmp_path)
    save_classifier(small_classifier())
    (tmp_path / "models" / missing).unlink()
    with refused(f"models/{missing}: no model here", "`dvc repro`", "`dvc pull`"):
        load_classifier()


@pytest.mark.parametrize(
    ("missing", "added", "says"),
    [
        (["prior"], [], "it has no prior)"),
        (["reading", "precision"], [], "it has no precision, no reading)"),
        (["tta"], ["colour"], "it has no tta, an unknown colour)"),
    ],
)
def test_model_of_another_version_of_the_code_is_an_error(tmp_path, monkeypatch, missing, added, says):
    monkeypatch.chdir(tmp_path)
    save_classifier(small_classifier())
    content = {key: value for key, value in read_json(classifier.SPEC).items() if key not in missing}
    write_json(classifier.SPEC, content | dict.fromkeys(added, 1))
    with refused("models/classifier.json: written by another version", says, "`dvc repro`", "`dvc checkout`"):
        load_classifier()


def test_images_of_another_size_are_an_error():
    with refused("images are 20 x 16 pixels, the classifier takes 16 x 16"):
        predict(small_classifier(), np.zeros((2, 20, 16), np.uint8), CPU)


def test_documented_size_of_the_network():
    network = build_member(small_classifier(size=28, input_size=28).spec)
    assert sum(weight.numel() for weight in network.parameters()) == pytest.approx(287_000, abs=500)
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 2)


def test_new_member_has_the_weights_and_the_dropout_that_are_stated(tmp_path, monkeypatch):
    path = empty_mirror(tmp_path, monkeypatch) / "own.safetensors"
    spec = small_classifier(dropout=0.7).spec
    expected = build_member(spec).base.state_dict()
    save_file(expected, path)
    named = settings("model", weights=f"file:{path.name}", weights_sha256=sha256(path))
    network = build_member(spec, named)
    for name, tensor in network.base.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert not torch.equal(build_member(spec).base.block1[0].weight, expected["block1.0.weight"])
    assert network.dropout.p == 0.7


def test_new_members_differ_by_seed_alone():
    spec = small_classifier().spec
    torch.manual_seed(3)
    first = build_member(spec).head.weight
    torch.manual_seed(3)
    assert torch.equal(build_member(spec).head.weight, first)
    assert not torch.equal(build_member(spec).head.weight, first)
