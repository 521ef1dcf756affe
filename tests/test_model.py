"""`cxr.load`: the predictions of the command line, from files and from arrays, without PyTorch."""

import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cxr
from cxr.core.files import sha256
from cxr.data.radiograph import read_radiograph
from cxr.inference.onnx_session import OnnxModel
from cxr.model import ReleasedModel, load
from tests.builders import edit_export, noise_images, refused, unreachable_hub


@pytest.fixture
def model(exported_run) -> ReleasedModel:
    return cxr.load(exported_run)


@pytest.fixture
def images(tmp_path) -> list[Path]:
    """A file of 8 bits and one of 16, of other sizes."""
    first, second = noise_images(2, 40)
    paths = [tmp_path / "first.png", tmp_path / "second.png"]
    Image.fromarray(first[:, :30]).save(paths[0])
    Image.fromarray(second.astype(np.uint16) * 257).save(paths[1])
    return paths


def test_predictions_are_those_of_the_exported_file(model, images, exported_run):
    onnx = OnnxModel((exported_run / "models/classifier.onnx").read_bytes(), 1)
    stored = np.stack([read_radiograph(path, 16, "medmnist") for path in images])
    answer = onnx(stored)
    predicted = model.predict(images)
    assert model.classes == ["normal", "pneumonia"]
    for each, row, mark in zip(predicted, answer.probabilities, onnx.typicality(answer), strict=True):
        assert each.probabilities == pytest.approx(dict(zip(model.classes, row, strict=True)), abs=1e-6)
        assert each.typicality.p_value == mark.p_value
    np.testing.assert_allclose(model.embed(images), answer.embedding, atol=1e-6)


@pytest.mark.parametrize(("above", "decision"), [(-0.01, "pneumonia"), (0.01, "normal")])
def test_the_decision_is_at_the_released_threshold(model, images, exported_run, tmp_path, above, decision):
    p = model.predict(images[:1])[0].probabilities["pneumonia"]
    shutil.copytree(exported_run / "models", tmp_path / "models")
    edit_export(tmp_path, threshold=p + above)
    (predicted,) = cxr.load(tmp_path).predict(images[:1])
    assert (predicted.probabilities["pneumonia"], predicted.decision) == (p, decision)


def test_an_array_is_the_file_with_its_grey_levels(model, images):
    arrays = [np.asarray(Image.open(path)) for path in images]
    assert [array.dtype for array in arrays] == [np.uint8, np.uint16]
    assert model.predict(arrays) == model.predict(images) == model.predict([str(images[0]), arrays[1]])
    np.testing.assert_array_equal(model.embed(arrays), model.embed(images))
    assert model.predict(arrays)[0] != model.predict(arrays)[1]


def test_no_radiograph_has_no_prediction(model):
    assert model.predict([]) == []
    assert len(model.embed([])) == 0


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), np.zeros((0, 4), np.uint8)]
)
def test_an_array_of_another_kind_is_an_error(model, array):
    with refused(f"shape {array.shape}", str(array.dtype), "(height, width), uint8 or uint16"):
        model.predict([array])


def test_a_file_that_cannot_be_read_is_an_error(model, tmp_path):
    with refused("none.png: no such file"):
        model.predict([tmp_path / "none.png"])


def test_the_card_is_that_of_these_weights(exported_run, tmp_path):
    shutil.copytree(exported_run / "models", tmp_path / "models")
    assert cxr.load(tmp_path).card is None
    for name in ("README.md", "reports/model_card.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("Of another model.")
        assert cxr.load(tmp_path).card is None
        text = f"Weights {sha256(tmp_path / 'models/classifier.safetensors')}"
        (tmp_path / name).write_text(text)
        assert cxr.load(tmp_path).card == text
        (tmp_path / name).unlink()


def test_a_model_of_the_hub_comes_from_the_mirror_or_the_cache(exported_run, tmp_path, monkeypatch):
    unreachable_hub(tmp_path, monkeypatch)
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path / "mirror"))
    with refused("acme/x@v1: classifier.onnx of acme/x is not available", "--revision v1", "CXR_MIRROR"):
        cxr.load("acme/x@v1")
    folder = tmp_path / "mirror/acme/x"
    folder.mkdir(parents=True)
    shutil.copy(exported_run / "models/classifier.onnx", folder)
    assert cxr.load("acme/x").onnx.sha256 == cxr.load(exported_run).onnx.sha256


@pytest.mark.parametrize("name", ["none", "models/none", "none/classifier.onnx", "a/b/c", "org/name@"])
def test_what_is_no_model_is_one_line(name, tmp_path, monkeypatch):
    """Without asking the hub where a local file must be meant."""
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    monkeypatch.setattr("cxr.model.from_hub", None)
    with refused(f"{name}: no such model; name an exported .onnx file"):
        cxr.load(name)


def test_a_file_of_another_program_is_one_line(tmp_path):
    (tmp_path / "classifier.onnx").write_bytes(b"no model")
    with refused("classifier.onnx: not written by the stage export"):
        cxr.load(tmp_path)


def test_the_package_has_what_it_says_and_nothing_else():
    assert cxr.__version__ == version("cxr")
    assert cxr.load is load
    with pytest.raises(AttributeError, match="module 'cxr' has no attribute 'lode'"):
        _ = cxr.lode
