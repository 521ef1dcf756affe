"""The balanced error of every corruption equals a recomputation, and is grouped by augmentation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from cxr.core.dataset import load_dataset
from cxr.core.errors import UserError
from cxr.core.files import read_csv, read_json
from cxr.evaluation.corruptions import CORRUPTED, KINDS, SEVERITIES, corrupt
from cxr.evaluation.robustness import balanced_errors, macro_auc, mean_errors
from cxr.evaluation.statistics import blocks
from cxr.figures import style
from cxr.inference import calibration
from cxr.inference.calibration import load_calibration, save_calibration
from cxr.models.classifier import load_classifier, predict
from stages import corrupt as corrupt_stage
from stages import robustness
from stages.robustness import robustness_report
from tests.builders import save_classifier, small_classifier, write_packed, write_params
from tests.pictures import recorded


def drawn(classes: int, conditions: int, images: int = 60) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(classes)
    labels = generator.choice(classes, images, p=[0.7, *[0.3 / (classes - 1)] * (classes - 1)])
    evidence = np.eye(classes)[labels] + generator.normal(size=(conditions, images, classes))
    return labels, np.exp(evidence) / np.exp(evidence).sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_balanced_errors_equal_scikit_learn(classes):
    labels, probabilities = drawn(classes, conditions=4)
    result = balanced_errors(labels, probabilities, resamples=30)
    weights = np.concatenate([np.ones((1, len(labels))), *blocks(labels, 30)])
    assert result.shape == (31, 4)
    for row, weight in zip(result, weights, strict=True):
        for value, p in zip(row, probabilities, strict=True):
            accuracy = balanced_accuracy_score(labels, p.argmax(axis=1), sample_weight=weight)
            assert value == pytest.approx(1 - accuracy)


def test_intervals_are_paired():
    """A corruption that changes nothing adds no error in any resample."""
    labels, probabilities = drawn(2, conditions=1)
    errors = balanced_errors(labels, np.repeat(probabilities, 6, axis=0), resamples=200)
    result = mean_errors(errors[:, 0], [errors[:, 1:]])
    assert [result[name] for name in ("rbe", "rbe_low", "rbe_high")] == pytest.approx([0, 0, 0])
    assert result["be"] == pytest.approx(errors[0, 0])
    assert result["be_low"] < result["be"] < result["be_high"]


def test_the_decision_follows_the_threshold():
    labels, probabilities = drawn(2, conditions=3)
    for threshold in (0.2, 0.9):
        errors = balanced_errors(labels, probabilities, 2, threshold)[0]
        for value, p in zip(errors, probabilities, strict=True):
            assert value == pytest.approx(1 - balanced_accuracy_score(labels, p[:, 1] >= threshold))


def test_auc_equals_scikit_learn():
    labels, (p,) = drawn(2, conditions=1)
    assert macro_auc(labels, p) == pytest.approx(roc_auc_score(labels, p[:, 1]))
    labels, (p,) = drawn(3, conditions=1)
    assert macro_auc(labels, p) == pytest.approx(roc_auc_score(labels, p, multi_class="ovr", average="macro"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stages on an untrained classifier; returns metrics/robustness.json."""
    monkeypatch.chdir(tmp_path)

    def call(tta: str) -> dict:
        write_packed({"train": (20, 30), "val": (12, 14), "test": (15, 25)}, ["normal", "sick"])
        save_classifier(small_classifier(tta=tta))
        save_calibration(calibration.Calibration(1.5, 0.6, prior=[0.59, 0.41], prevalence=[0.5, 0.5]))
        write_params(tmp_path, {"compute.threads": 1, "compute.device": "cpu", "evaluate.bootstrap": 100})
        corrupt_stage.main()
        robustness.main()
        return read_json("metrics/robustness.json")

    return call


def test_published_errors_equal_a_recomputation(run):
    report = run("none")
    data, model, calibrate = load_dataset(), load_classifier(), load_calibration()
    test = data.rows("test")

    def error(images: np.ndarray) -> float:
        probabilities = calibrate(predict(model, images, torch.device("cpu")).mean)
        return 1 - balanced_accuracy_score(data.labels[test], probabilities[:, 1] >= 0.6)

    clean = error(data.images[test])
    assert report["clean"]["balanced_error"] == pytest.approx(clean, abs=1e-6)
    expected = {
        kind: [error(corrupt(data.images[test], kind, severity)) for severity in SEVERITIES] for kind in KINDS
    }
    for kind, errors in expected.items():
        result = report["kinds"][kind]
        assert result["be"] == pytest.approx(np.mean(errors), abs=1e-6)
        assert result["rbe"] == pytest.approx(np.mean(errors) - clean, abs=1e-6)
        assert result["be_low"] <= result["be"] <= result["be_high"]
    assert report["all"]["be"] == pytest.approx(np.mean(list(expected.values())), abs=1e-6)
    assert len({round(float(np.mean(errors)), 6) for errors in expected.values()}) > 5

    table = read_csv("plots/robustness.csv")
    assert [int(row["severity"]) for row in table] == [0, *SEVERITIES]
    for kind, errors in expected.items():
        assert [float(row[kind]) for row in table] == pytest.approx([clean, *errors], abs=1e-6)


@pytest.mark.parametrize("covered", [[], ["contrast_up", "contrast_down"], list(KINDS)])
def test_means_are_separate_by_augmentation(covered):
    labels, probabilities = drawn(2, conditions=1 + len(KINDS) * len(SEVERITIES))
    errors = balanced_errors(labels, probabilities, resamples=20)
    overlaps = {kind: "augment.contrast 0.3" if kind in covered else None for kind in KINDS}
    report = robustness_report(errors, errors[0] / 2, overlaps)
    of_kind = errors[0, 1:].reshape(len(KINDS), len(SEVERITIES)).mean(axis=1)
    for name, is_covered in (("covered_by_augmentation", True), ("not_covered", False)):
        kinds = [kind for kind in KINDS if (kind in covered) == is_covered]
        assert (name in report) == bool(kinds)
        for kind in kinds:
            words = "covered by augment.contrast 0.3" if is_covered else "not covered by augmentation"
            assert report["kinds"][kind]["training"] == words
        if kinds:
            mean = np.mean([value for kind, value in zip(KINDS, of_kind, strict=True) if kind in kinds])
            assert report[name]["be"] == pytest.approx(mean)
            assert report[name]["rbe"] == pytest.approx(mean - errors[0, 0])
            assert report[name]["auc"] == pytest.approx(mean / 2)


def test_equal_runs_write_equal_bytes_without_test_time_augmentation(run):
    def outputs(tta: str) -> list[bytes]:
        run(tta)
        written = [CORRUPTED, *Path("metrics").iterdir(), *Path("plots").iterdir()]
        assert len(written) == 4
        return [path.read_bytes() for path in sorted(written)]

    one, six = outputs("none"), outputs("flip_zoom")
    assert one[0] == six[0]
    assert one[2:] == six[2:]  # robustness.json comes second and names the released augmentation
    assert six[1] == one[1].replace(b"released: none", b"released: flip_zoom") != one[1]
    with Image.open("plots/robustness.png") as figure:
        assert figure.width <= 1100


def test_another_threshold_repeats_the_last_step_alone(run):
    before, stored = run("none"), CORRUPTED.stat()
    save_calibration(calibration.Calibration(1.5, 0.3, prior=[0.59, 0.41], prevalence=[0.5, 0.5]))
    Path("models/classifier.safetensors").unlink()  # no network is needed for it
    robustness.main()
    after = read_json("metrics/robustness.json")
    assert after["clean"]["balanced_error"] != before["clean"]["balanced_error"]
    assert after["clean"]["auc"] == before["clean"]["auc"]
    assert CORRUPTED.stat() == stored


def test_predictions_of_another_data_set_are_refused(run):
    run("none")
    write_packed({"train": (20, 30), "val": (12, 14), "test": (15, 20)}, ["normal", "sick"])
    with pytest.raises(UserError, match=r"data/corrupted\.npy: belongs to another data set; run `dvc repro"):
        robustness.main()


def test_the_figure_has_each_kinds_own_errors_and_their_95_percent_interval(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    errors = generator.random((41, 1 + len(KINDS) * len(SEVERITIES)))
    kinds = list(KINDS)
    overlaps = {kind: "augment.noise 0.1" if number % 2 else None for number, kind in enumerate(kinds)}
    with recorded() as saved:
        robustness.draw_robustness(errors, overlaps)
    panels = [panel for panel in saved["robustness.png"].panels if panel.title]
    assert [panel.title.split("\n")[0] for panel in panels] == kinds
    for number, panel in enumerate(panels):
        of_kind = errors[:, 1 + 5 * number : 6 + 5 * number]
        reference, line = panel.ax.lines
        assert set(reference.get_ydata()) == {errors[0, 0]}
        np.testing.assert_allclose(line.get_ydata(), of_kind[0])
        assert line.get_color() == (style.PLAIN if number % 2 else style.MARKED)
        assert ("augment.noise" in panel.title) == bool(number % 2)
        (band,) = panel.ax.collections
        ends = np.percentile(of_kind[1:], [2.5, 97.5], axis=0)
        y = band.get_paths()[0].vertices[:, 1]
        assert (y.min(), y.max()) == pytest.approx((ends[0].min(), ends[1].max()))
