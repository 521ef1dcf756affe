"""The temperature and the threshold are optimal, and are chosen on val alone."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.probabilities import nll
from cxr.inference.calibration import (
    COLDEST,
    Calibration,
    fit_temperature,
    load_calibration,
    save_calibration,
)
from cxr.inference.thresholds import choose_thresholds
from cxr.inference.typicality_model import PATH, load_typicality, measure
from cxr.models.classifier import load_classifier, predict
from stages import calibrate
from tests.builders import (
    files_below,
    noise_images,
    refused,
    save_classifier,
    small_classifier,
    write_packed,
    write_params,
)


def sample(classes: int, factor: float, images: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose logits are `factor` times the true ones, and labels drawn from the true ones."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(images, classes)) * 1.5
    true = softmax(logits, axis=1)
    labels = (true.cumsum(axis=1) < generator.random((images, 1))).sum(axis=1)
    return softmax(logits * factor, axis=1), labels


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_of_overconfident_and_underconfident_models(classes, factor):
    probabilities, labels = sample(classes, factor)
    temperature = fit_temperature(probabilities, labels)
    assert temperature == pytest.approx(factor, rel=0.05)
    losses = [nll(Calibration(t, None)(probabilities), labels) for t in np.geomspace(0.1, 10, 200)]
    assert nll(Calibration(temperature, None)(probabilities), labels) <= min(losses)


def test_calibrated_probabilities_are_scaled_logits():
    logits = np.random.default_rng(0).normal(size=(2, 50, 3)) * 4
    calibrated = Calibration(2.5, None)(softmax(logits, axis=-1).astype(np.float32))
    assert calibrated.dtype == np.float64
    np.testing.assert_allclose(calibrated, softmax(logits / 2.5, axis=-1), atol=1e-6)
    np.testing.assert_allclose(calibrated.sum(axis=-1), 1)


def test_temperature_of_one_changes_nothing():
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], 50)
    np.testing.assert_allclose(Calibration(1.0, None)(probabilities), probabilities, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 0.8, 20])
def test_order_and_decision_stay(temperature):
    probabilities = np.random.default_rng(0).dirichlet([1, 1], 200)
    calibrated = Calibration(temperature, None)(probabilities)
    assert np.array_equal(np.argsort(calibrated[:, 1]), np.argsort(probabilities[:, 1]))
    assert np.array_equal(calibrated.argmax(axis=1), probabilities.argmax(axis=1))


def test_probabilities_of_0_and_1_stay_finite():
    calibrated = Calibration(0.05, None)(np.array([[0.0, 1.0], [1.0, 0.0]], np.float32))
    np.testing.assert_allclose(calibrated, [[0, 1], [1, 0]], atol=1e-12)
    assert nll(np.array([[0.0, 1.0]]), np.array([0])) == pytest.approx(-np.log(1e-12))


def test_perfect_model_has_a_temperature():
    p = np.linspace(0.6, 0.9, 30)
    probabilities = np.concatenate([np.stack([p, 1 - p], axis=1), np.stack([1 - p, p], axis=1)])
    temperature = fit_temperature(probabilities, np.repeat([0, 1], 30))
    assert temperature == pytest.approx(COLDEST, rel=0.01)  # the log loss falls to the bound of the search
    extreme = Calibration(temperature, None)(np.array([[0.1, 0.9]]))[0, 1]
    assert 0.999 < extreme < 0.9999  # as its docstring says, and not 1


def test_a_missing_calibration_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused("models/calibration.json: no calibration here", "`dvc repro`", "`dvc pull`"):
        load_calibration()


@pytest.mark.parametrize("points", [None, {"youden": 0.25, "one_half": 0.5}])
def test_calibration_is_read_as_it_was_written(tmp_path, monkeypatch, points):
    monkeypatch.chdir(tmp_path)
    written = Calibration(1.25, points and 0.25, [0.3, 0.7], [0.5, 0.5], points)
    save_calibration(written)
    assert load_calibration() == written


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage on an untrained classifier."""
    monkeypatch.chdir(tmp_path)

    def call(
        classes: list[str],
        rule: str | float,
        prevalence: str | float = "train",
        prior: list[float] | None = None,
    ) -> Calibration:
        of_class = (12,) * len(classes)
        train = (24, *of_class[1:])
        write_packed({"train": train, "val": of_class, "test": of_class}, classes)
        prior = prior or [round(count / sum(train), 6) for count in train]
        model = {"classes": classes, "outputs": classes, "output_classes": [*range(len(classes))]}
        save_classifier(small_classifier(**model, prior=prior))
        changes = {"calibrate.threshold": rule, "calibrate.prevalence": prevalence}
        write_params(tmp_path, changes | {"compute.threads": 1, "compute.device": "cpu"})
        calibrate.main()
        return load_calibration()

    return call


@pytest.mark.parametrize(
    ("classes", "rule", "name"),
    [
        (["normal", "sick"], "youden", "youden"),
        (["normal", "sick"], "sensitivity", "target_sensitivity"),
        (["normal", "sick"], "specificity", "target_specificity"),
        (["normal", "sick"], 0.3, "fixed"),
        (["a", "b", "c"], "youden", None),
    ],
)
def test_stage_uses_val_alone(run, classes, rule, name):
    chosen = run(classes, rule)
    data = load_dataset()
    val = data.rows("val")
    raw = predict(load_classifier(), data.images[val], torch.device("cpu")).mean
    assert chosen.temperature == pytest.approx(fit_temperature(raw, data.labels[val]), abs=1e-5)
    if len(classes) > 2:
        assert chosen.threshold is chosen.operating_points is None
    else:
        points = choose_thresholds(data.labels[val] == 1, chosen(raw)[:, 1], 0.95)
        assert chosen.operating_points == points | ({"fixed": rule} if name == "fixed" else {})
        assert chosen.threshold == chosen.operating_points[name]

    images = np.array(data.images)
    others = data.rows("train", "test")
    images[others] = noise_images(len(others), seed=5)
    dataset.write_npy(dataset.IMAGES, images)
    calibrate.main()
    assert load_calibration() == chosen


def test_target_of_the_parameters_decides_two_operating_points(run, tmp_path):
    before = run(["normal", "sick"], "sensitivity").operating_points
    changes = {"calibrate.threshold": "sensitivity", "calibrate.target": 0.5}
    write_params(tmp_path, changes | {"compute.threads": 1, "compute.device": "cpu"})
    calibrate.main()
    chosen = load_calibration()
    data = load_dataset()
    val = data.rows("val")
    raw = predict(load_classifier(), data.images[val], torch.device("cpu")).mean
    points = choose_thresholds(data.labels[val] == 1, chosen(raw)[:, 1], 0.5)
    assert chosen.operating_points == points != before
    assert chosen.threshold == points["target_sensitivity"]


def test_typicality_is_learnt_from_train_and_judged_on_val(run):
    run(["normal", "sick"], "youden")
    data = load_dataset()
    images, before = np.array(data.images), PATH.read_bytes()
    for split, changes in (("test", False), ("val", True), ("train", True)):
        rows = data.rows(split)
        changed = images.copy()
        changed[rows] = noise_images(len(rows), seed=5)
        dataset.write_npy(dataset.IMAGES, changed)
        calibrate.main()
        assert (PATH.read_bytes() != before) is changes
    dataset.write_npy(dataset.IMAGES, images)
    calibrate.main()
    assert PATH.read_bytes() == before
    model, val = load_classifier(), images[data.rows("val")]
    raw = predict(model, val, torch.device("cpu"))
    distances = measure(load_typicality(), model, val, raw, torch.device("cpu"))
    np.testing.assert_allclose(load_typicality().val, distances, rtol=1e-5)


def test_stage_without_a_model_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (2, 2), "val": (2, 2), "test": (2, 2)}, ["normal", "sick"])
    write_params(tmp_path, {"compute.threads": 1})
    before = files_below(tmp_path)
    with refused("no model here"):
        calibrate.main()
    assert files_below(tmp_path) == before


def test_stage_adjusts_to_the_stated_prevalence(run):
    """The log-odds of every image change by the change in the log-odds of the prevalence, whatever the
    prior."""
    at_train = run(["normal", "sick"], 0.5)
    assert at_train.prior == at_train.prevalence == [round(2 / 3, 6), round(1 / 3, 6)]
    uniform = run(["normal", "sick"], 0.5, "uniform")
    assert uniform.temperature == at_train.temperature  # fitted at the prevalence of train in both cases
    tenth = run(["normal", "sick"], 0.5, 0.1)
    p = np.random.default_rng(0).dirichlet([1, 1], 50)

    def log_odds(calibrate: Calibration) -> np.ndarray:
        scaled = calibrate(p)
        return np.log(scaled[:, 1] / scaled[:, 0])

    np.testing.assert_allclose(log_odds(uniform) - log_odds(at_train), np.log(2), atol=1e-5)
    np.testing.assert_allclose(log_odds(tenth) - log_odds(uniform), np.log(0.1 / 0.9), atol=1e-5)


def test_the_prior_is_the_one_that_the_classifier_states(run):
    chosen = run(["normal", "sick"], 0.5, "uniform", [0.5, 0.5])
    assert chosen.prior == chosen.prevalence == [0.5, 0.5]


def test_one_number_for_three_classes_is_an_error(run):
    with refused("params.yaml: calibrate.prevalence is 0.3, one number for 3 classes", "uniform or train"):
        run(["a", "b", "c"], "youden", 0.3)
