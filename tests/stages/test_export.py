"""The stage exports the classifier that evaluate described, and compares it with PyTorch."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr.core.files import read_json
from cxr.embeddings.vectors import classifier_vectors
from cxr.inference.calibration import load_calibration, save_calibration
from cxr.inference.onnx_graph import to_onnx
from cxr.inference.onnx_session import OnnxModel
from cxr.inference.predictions import load_predictions, save_predictions
from cxr.inference.typicality_model import load_typicality, save_typicality
from cxr.models import classifier
from cxr.models.classifier import load_classifier
from stages import export
from tests.builders import files_below, refused

CPU = torch.device("cpu")


def test_stage_describes_what_it_wrote(exported_run, monkeypatch):
    monkeypatch.chdir(exported_run)
    report = read_json("metrics/export.json")
    content = Path("models/classifier.onnx").read_bytes()
    model = OnnxModel(content, threads=1)
    assert (report["sha256"], report["bytes"]) == (model.sha256, len(content))
    for path in ("metrics/test.json", "metrics/reliability.csv"):
        assert report["described_by"][path] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert model.facts.classifier_sha256 == export.sha256(classifier.WEIGHTS)
    assert model.facts.limits == read_json("metrics/data.json")["source"]["limits"]
    for described in (load_classifier().spec, load_calibration()):
        shared = vars(described).keys() & vars(model.facts).keys()
        assert {name: getattr(model.facts, name) for name in shared} == {
            name: getattr(described, name) for name in shared
        }
    assert set(report["max_difference"]) == {"probabilities", "embedding", "distances", "maps"}
    assert all(0 <= value <= 1e-4 for value in report["max_difference"].values())
    test = load_predictions().of("test")
    assert report["images"] == len(test.rows)
    assert to_onnx(load_classifier(), load_calibration(), load_typicality(), model.facts) == content
    images = np.load("data/images.npy")[test.rows]
    answer = model(images)
    np.testing.assert_allclose(answer.probabilities, test.ensemble, atol=1e-5)
    vectors = classifier_vectors(load_classifier(), images, CPU)
    assert vectors.source_sha256 == model.facts.classifier_sha256
    np.testing.assert_allclose(answer.embedding, vectors.values, atol=1e-5)
    assert model.facts.val_distances == load_typicality().val.tolist()


@pytest.fixture
def copy_of_run(exported_run, tmp_path, monkeypatch):
    """The exported run before its export, in a temporary folder; the same graph will be exported."""
    for name in files_below(exported_run):
        if name not in ("models/classifier.onnx", "metrics/export.json"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((exported_run / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    content = (exported_run / "models/classifier.onnx").read_bytes()
    monkeypatch.setattr(export, "to_onnx", lambda *_: content)  # which takes seconds each time


def export_refused(*parts: str) -> None:
    with refused(*parts):
        export.main()
    assert not Path("models/classifier.onnx").exists()
    assert not Path("metrics/export.json").exists()


def test_a_graph_that_differs_from_pytorch_is_an_error(copy_of_run):
    save_calibration(replace(load_calibration(), temperature=3.0))
    export_refused("models/classifier.onnx: probabilities differ from PyTorch's by 0.", "more than 0.0001")


def test_a_graph_with_another_typicality_is_an_error(copy_of_run):
    reference = load_typicality()
    reference.prototypes = -reference.prototypes
    save_typicality(reference)
    export_refused("models/classifier.onnx: distances differ from PyTorch's by 0.")


def test_predictions_of_another_model_are_an_error(copy_of_run):
    published = load_predictions()
    save_predictions(replace(published, ensemble=published.ensemble[:, ::-1]))
    export_refused("metrics/predictions.csv does not belong to models/classifier.safetensors")


def test_predictions_of_another_data_set_are_an_error(copy_of_run):
    published = load_predictions()
    save_predictions(replace(published, labels=1 - published.labels))
    export_refused("metrics/predictions.csv does not belong to data/labels.csv: other labels")


@pytest.mark.parametrize("content", [None, "{}"])
def test_nothing_is_exported_without_the_limits_of_the_data(copy_of_run, content):
    Path("metrics/data.json").unlink()
    if content:
        Path("metrics/data.json").write_text(content)
    export_refused("metrics/data.json: missing, or without `source`; run `dvc repro split`")
