"""Stage evaluate: val and test, calibration methods and thresholds, each with its own numbers and figure."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from cxr.core.dataset import load_dataset
from cxr.core.files import read_json, write_csv
from cxr.evaluation.decision import threshold_samples
from cxr.evaluation.metrics import summarise
from cxr.evaluation.platt import calibration_methods
from cxr.evaluation.reliability import reliability_curve
from cxr.inference.calibration import Calibration, save_calibration
from cxr.inference.predictions import load_predictions
from cxr.inference.typicality import ValDistances
from cxr.inference.typicality_model import load_typicality, measure, save_typicality
from cxr.models.classifier import predict
from cxr.params import load_params
from cxr.training.history import HISTORY_COLUMNS
from stages import evaluate
from tests.builders import (
    ROOT,
    save_classifier,
    save_small_typicality,
    small_classifier,
    write_packed,
    write_params,
)
from tests.pictures import recorded
from tests.stages.test_evaluate import CLASSES, THRESHOLD, reference


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory):
    """A run whose two splits differ in every number, read back: predictions, files, figures, calibration."""
    with pytest.MonkeyPatch.context() as patch, recorded() as saved:
        patch.chdir(tmp_path_factory.mktemp("evaluate"))
        write_packed({"train": (10, 14), "val": (9, 16), "test": (13, 12)}, CLASSES[:2])
        model = small_classifier()
        save_classifier(model)
        points = {"youden": THRESHOLD, "one_half": 0.5}
        released = Calibration(1.7, THRESHOLD, [0.4, 0.6], [0.5, 0.5], points)
        save_calibration(released)
        save_small_typicality(model)
        write_csv("models/history.csv", HISTORY_COLUMNS, [(0, 1, 0.1, 0.5, 0.5, 0.5, 0.5, 1)])
        changes = {"evaluate.bootstrap": 100, "evaluate.prevalence": 0.1}
        write_params(Path(), changes | {"compute.threads": 1, "compute.device": "cpu"})
        data, cpu = load_dataset(), torch.device("cpu")
        reference, rows = load_typicality(), data.rows("val", "test")
        distances = measure(reference, model, data.images[rows], predict(model, data.images[rows], cpu), cpu)
        # About half of the images are less like train than these 40.
        reference.val = torch.from_numpy(np.tile(np.median(distances, axis=0), (40, 1)))
        save_typicality(reference)
        evaluate.main()
        p_typical = ValDistances(reference.val.numpy()).p_values(distances)
        files = {name: read_json(f"metrics/{name}.json") for name in ("test", "details")}
        return load_predictions(), files, saved["reliability.png"], released, p_typical


def test_each_calibration_method_has_its_own_diagram(two_classes):
    published, _, picture, released, _ = two_classes
    even = np.array([0.5, 0.5])
    methods = calibration_methods(published, released, even)
    titles = ("uncalibrated", "temperature scaling", "Platt scaling")
    for title, p, above, below in zip(
        titles, methods.values(), picture.panels[:3], picture.panels[3:], strict=True
    ):
        labels, shown = published.of("test").labels, p[published.splits == "test"]
        expected = reliability_curve(labels, shown, even)
        assert above.title == f"{title}\nECE at this prevalence: {expected.error:.3f}"
        points = np.stack([expected.probability, expected.observed], axis=1)
        np.testing.assert_allclose(above.ax.lines[1].get_xydata(), points)
        heights = [bar.get_height() for bar in below.ax.patches]
        assert heights == np.histogram(shown[:, 1], 20, (0, 1))[0].tolist()
    assert "50% normal, 50% pneumonia" in picture.figure.get_suptitle()


def test_each_split_has_its_own_numbers(two_classes):
    published, files, _, released, p_typical = two_classes
    assert files["test"]["majority_baseline"] == pytest.approx(13 / 25)
    methods = calibration_methods(published, released, np.array([0.5, 0.5]))
    for split in ("val", "test"):
        mask, result = published.splits == split, files["details"][split]
        unlike = p_typical[mask] < 0.05
        assert 0 < unlike[:, 0].sum() < 25
        assert result["typicality"]["unlike"]["value"] == pytest.approx(unlike[:, 0].mean(), abs=1e-6)
        for name, p in methods.items():
            expected = sk.log_loss(published.labels[mask], p[mask])
            assert result["calibration"][name]["nll"]["value"] == pytest.approx(expected, abs=1e-5)
        assert result["shifted"]["prevalence"] == pytest.approx([0.9, 0.1])
    test = published.of("test")
    for name, value in reference(test.labels, test.ensemble, THRESHOLD).items():
        assert files["test"][name]["ensemble"] == pytest.approx(value, abs=1e-6)


def test_intervals_include_the_uncertainty_of_the_threshold_from_val(two_classes):
    published, files, _, released, _ = two_classes
    target = load_params(ROOT / "params.yaml").calibrate.target
    drawn = threshold_samples(published.of("val"), released, [10 / 24, 14 / 24], target, 100)
    assert len(np.unique(drawn)) > 3
    expected = summarise(published.of("test"), THRESHOLD, 100, drawn).headline()
    fixed = summarise(published.of("test"), THRESHOLD, 100).headline()
    for name in ("sensitivity", "specificity", "accuracy"):
        for end in ("low", "high"):
            assert files["test"][name][end] == pytest.approx(expected[name][end], abs=1e-6)
    assert expected != fixed
