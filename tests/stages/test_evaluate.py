"""Every published number equals scikit-learn's, and follows from metrics/predictions.csv alone."""

import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import rankdata
from sklearn import metrics as sk

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv, read_json, write_csv
from cxr.evaluation.acquisition_baseline import acquisition_baseline
from cxr.evaluation.calibration_error import calibration_report
from cxr.evaluation.metrics import (
    confusion,
    decide,
    headline,
    majority_baseline,
    summarise,
    weighted_headline,
)
from cxr.evaluation.reliability import calibration_scores, reliability_curve
from cxr.evaluation.statistics import blocks
from cxr.inference.calibration import Calibration, load_calibration, save_calibration
from cxr.inference.predictions import DIGITS, Predictions, load_predictions, save_predictions
from cxr.models.classifier import load_classifier, predict
from cxr.training.history import HISTORY_COLUMNS
from stages import evaluate
from tests.builders import (
    make_all_unlike,
    refused,
    save_classifier,
    save_small_typicality,
    small_classifier,
    write_packed,
    write_params,
)

CLASSES = ["normal", "pneumonia", "tuberculosis"]
THRESHOLD = 0.35


def sample(classes: int, images: int = 200, members: int = 3, seed: int = 0) -> Predictions:
    """Predictions of a model that is right more often than not."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, images, p=[0.3, 0.7] if classes == 2 else [0.2, 0.5, 0.3])
    evidence = np.eye(classes)[labels] * 1.5 + generator.normal(size=(members, images, classes))
    p = np.exp(evidence) / np.exp(evidence).sum(axis=2, keepdims=True)
    splits = np.where(generator.random(images) < 0.4, "val", "test")
    return Predictions(CLASSES[:classes], np.arange(images) * 3, splits, labels, p.mean(axis=0), p)


def calibration_error(probability: np.ndarray, observed: np.ndarray) -> float:
    """Of 15 bins of equal mass; radiographs of equal probability share their mean rank."""
    rank = (rankdata(probability) - 0.5) / len(probability)
    bins = np.floor(rank * 15 + 1e-9)
    return sum(abs((observed - probability)[bins == b].sum()) for b in range(15)) / len(probability)


def reference(labels: np.ndarray, p: np.ndarray, threshold: float | None) -> dict[str, float]:
    decided = p.argmax(axis=1) if threshold is None else (p[:, 1] >= threshold).astype(int)
    shared = {
        "accuracy": sk.accuracy_score(labels, decided),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, decided),
        "f1_macro": sk.f1_score(labels, decided, average="macro", zero_division=0),
        "f1_weighted": sk.f1_score(labels, decided, average="weighted", zero_division=0),
        "nll": -np.log(p[np.arange(len(labels)), labels]).mean(),
        "mcc": sk.matthews_corrcoef(labels, decided),
    }
    if p.shape[1] > 2:
        shared["ece"] = calibration_error(p.max(axis=1), p.argmax(axis=1) == labels)
    else:
        shared["ece"] = calibration_error(p[:, 1], labels == 1)
    if p.shape[1] > 2:
        average_precision = [sk.average_precision_score(labels == c, p[:, c]) for c in range(p.shape[1])]
        return shared | {
            "auc_ovr_macro": sk.roc_auc_score(labels, p, multi_class="ovr", average="macro"),
            "average_precision_macro": statistics.mean(average_precision),
            "brier": statistics.mean(((p - np.eye(p.shape[1])[labels]) ** 2).sum(axis=1)),
        }
    positive = p[:, 1]
    return shared | {
        "auc": sk.roc_auc_score(labels, positive),
        "average_precision": sk.average_precision_score(labels, positive),
        "accuracy_at_one_half": sk.accuracy_score(labels, p.argmax(axis=1)),
        "sensitivity": sk.recall_score(labels, decided, zero_division=0),
        "specificity": sk.recall_score(labels, decided, pos_label=0, zero_division=0),
        "precision_pneumonia": sk.precision_score(labels, decided, zero_division=0),
        "f1_pneumonia": sk.f1_score(labels, decided, zero_division=0),
        "brier": sk.brier_score_loss(labels, positive),
    }


@pytest.mark.parametrize(("classes", "threshold"), [(2, THRESHOLD), (2, 0.9), (3, None)])
@pytest.mark.parametrize("seed", [0, 1])
def test_headline_equals_scikit_learn(classes, threshold, seed):
    data = sample(classes, seed=seed)
    result = headline(data.labels, data.ensemble, data.classes, threshold)
    assert result == pytest.approx(reference(data.labels, data.ensemble, threshold), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_weighted_images_equal_their_copies(classes):
    """All resamples at once, and one after the other with scikit-learn."""
    data, threshold = sample(classes, images=90), THRESHOLD if classes == 2 else None
    data.ensemble[:30] = data.ensemble[30:60]  # ties
    (counts,) = blocks(data.labels, 25)
    thresholds = None if threshold is None else np.linspace(0.2, 0.7, 25)
    result = weighted_headline(data.labels, data.ensemble, data.classes, thresholds, counts)
    for row, images in enumerate(counts.astype(int)):
        copies = np.repeat(np.arange(90), images)
        of_row = None if thresholds is None else thresholds[row]
        expected = reference(data.labels[copies], data.ensemble[copies], of_row)
        assert {name: values[row] for name, values in result.items()} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("favourite", [0, 1])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_constant_classifier_has_no_undefined_metric(favourite):
    labels = np.array([0, 0, 1, 1, 1])
    p = np.full((5, 2), 0.1)
    p[:, favourite] = 0.9
    result = headline(labels, p, CLASSES[:2], 0.5)
    assert np.isfinite(list(result.values())).all()
    assert result == pytest.approx(reference(labels, p, 0.5))
    assert (result["mcc"], result["auc"], result["balanced_accuracy"]) == (0, 0.5, 0.5)
    assert result["precision_pneumonia"] == pytest.approx(0.6 * favourite)


def test_decisions():
    p = np.array([[0.7, 0.3], [0.65, 0.35], [0.4, 0.6]])
    assert decide(p, None).tolist() == [0, 0, 1]
    assert decide(p, 0.35).tolist() == [0, 1, 1]  # at the threshold or above
    assert decide(np.array([[0.2, 0.3, 0.5], [0.4, 0.3, 0.3]]), None).tolist() == [2, 0]


@pytest.mark.parametrize("classes", [2, 3])
def test_table_equals_scikit_learn(classes):
    data = sample(classes)
    decisions = data.ensemble.argmax(axis=1)
    assert np.array_equal(
        confusion(data.labels, decisions, classes), sk.confusion_matrix(data.labels, decisions)
    )


@pytest.mark.parametrize("classes", [2, 3])
def test_summary_distinguishes_members_and_ensemble(classes):
    data, threshold = sample(classes), THRESHOLD if classes == 2 else None
    summary = summarise(data, threshold, 100).headline()
    members = [reference(data.labels, p, threshold) for p in data.members]
    ensemble = reference(data.labels, data.ensemble, threshold)
    assert summary.keys() == ensemble.keys()
    for name, value in summary.items():
        of_members = [member[name] for member in members]
        assert value["mean"] == pytest.approx(statistics.mean(of_members))
        assert value["std"] == pytest.approx(statistics.stdev(of_members))
        assert value["ensemble"] == pytest.approx(ensemble[name])
        assert value["low"] < value["ensemble"] < value["high"]


@pytest.mark.parametrize("classes", [2, 3])
def test_interval_equals_that_of_another_bootstrap(classes):
    data = sample(classes)
    threshold = THRESHOLD if classes == 2 else None
    summary = summarise(data, threshold, 400).headline()
    of_image = {
        "accuracy": decide(data.ensemble, threshold) == data.labels,
        "brier": ((data.ensemble - np.eye(classes)[data.labels]) ** 2).sum(axis=1)
        / (2 if classes == 2 else 1),
    }
    generator = np.random.default_rng(123)
    of_class = [np.flatnonzero(data.labels == label) for label in range(classes)]
    samples = [np.concatenate([generator.choice(rows, len(rows)) for rows in of_class]) for _ in range(2000)]
    for name, values in of_image.items():
        low, high = np.quantile([values[rows].mean() for rows in samples], [0.025, 0.975])
        result = (summary[name]["low"], summary[name]["high"])
        # The precision of percentiles of 400 samples.
        assert result == pytest.approx((low, high), abs=0.15 * (high - low))


def test_summary_is_repeatable_and_one_member_has_no_sd():
    data = sample(2, members=1)
    first = summarise(data, THRESHOLD, 100).headline()
    assert summarise(data, THRESHOLD, 100).headline() == first
    assert all(value["std"] == 0 for value in first.values())


@pytest.mark.parametrize(("labels", "accuracy"), [([0, 1, 1, 1], 0.75), ([2, 2, 0, 1], 0.5), ([0, 1], 0.5)])
def test_majority_baseline(labels, accuracy):
    assert majority_baseline(np.array(labels)) == accuracy


@pytest.mark.parametrize("names", [CLASSES, ["normal", "sick, very", "m0_p_ x"]])
def test_predictions_survive_their_file(tmp_path, names):
    data = sample(3, members=12)
    data = Predictions(sorted(names, key=lambda n: (n != "normal", n)), *list(vars(data).values())[1:])
    save_predictions(data, tmp_path / "p.csv")
    read = load_predictions(tmp_path / "p.csv")
    assert read.classes == data.classes
    for name in ("rows", "labels", "splits"):
        assert np.array_equal(getattr(read, name), getattr(data, name))
    np.testing.assert_allclose(read.ensemble, data.ensemble, rtol=5e-7)
    np.testing.assert_allclose(read.members, data.members, rtol=5e-7)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage on an untrained classifier."""
    monkeypatch.chdir(tmp_path)

    def call(classes: list[str]) -> None:
        of_class = (10, 14, 12)[: len(classes)]
        write_packed({"train": of_class, "val": of_class, "test": of_class}, classes)
        names = [*range(len(classes))]
        model = small_classifier(classes=classes, outputs=classes, output_classes=names)
        save_classifier(model)
        uniform = [1 / len(classes)] * len(classes)
        points = {"youden": THRESHOLD, "one_half": 0.5} if len(classes) == 2 else None
        save_calibration(Calibration(1.7, points and THRESHOLD, uniform, uniform, points))
        save_small_typicality(model)
        history = [
            (m, e, 0.1, 1 / (m + e), 2 / e, 0.5, 0.25 * m, int(e == 2 + m)) for m in (0, 1) for e in (1, 2, 3)
        ]
        write_csv("models/history.csv", HISTORY_COLUMNS, history)
        write_params(tmp_path, {"evaluate.bootstrap": 100, "compute.threads": 1, "compute.device": "cpu"})
        evaluate.main()

    return call


@pytest.mark.parametrize("classes", [CLASSES[:2], CLASSES])
def test_published_metrics_follow_from_the_predictions(run, classes):
    run(classes)
    table = [row for row in read_csv("metrics/predictions.csv") if row["split"] == "test"]
    data = load_dataset()
    assert [int(row["row"]) for row in table] == data.rows("test").tolist()
    labels = np.array([classes.index(row["label"]) for row in table])
    assert np.array_equal(labels, data.labels[data.rows("test")])

    def matrix(prefix: str) -> np.ndarray:
        return np.array([[float(row[f"{prefix}p_{name}"]) for name in classes] for row in table])

    threshold = THRESHOLD if len(classes) == 2 else None
    published = read_json("metrics/test.json")
    assert published.pop("majority_baseline") == pytest.approx(
        np.bincount(labels).max() / len(labels), abs=1e-6
    )
    members = [reference(labels, matrix(f"m{i}_"), threshold) for i in (0, 1)]
    for name, value in reference(labels, matrix(""), threshold).items():
        assert published[name]["ensemble"] == pytest.approx(value, abs=1e-6)
        of_members = [member[name] for member in members]
        assert published[name]["mean"] == pytest.approx(statistics.mean(of_members), abs=1e-6)
    assert published.keys() == members[0].keys()


@pytest.mark.parametrize("classes", [CLASSES[:2], CLASSES])
def test_predictions_are_calibrated(run, classes):
    """The released temperature is 1.7, the prevalence is the prior: p ** (1 / 1.7), normalised."""
    run(classes)
    data, published = load_dataset(), load_predictions()
    raw = predict(load_classifier(), data.images[data.rows("val", "test")], torch.device("cpu"))
    for values, uncalibrated in (
        (published.ensemble, raw.mean),
        (published.members, raw.probabilities),
    ):
        powers = uncalibrated.astype(float) ** (1 / 1.7)
        np.testing.assert_allclose(values, powers / powers.sum(axis=-1, keepdims=True), rtol=1e-4)
        assert abs(values - uncalibrated).max() > 0.05


@pytest.mark.parametrize("classes", [CLASSES[:2], CLASSES])
def test_curves_follow_from_the_predictions(run, classes):
    run(classes)
    test = load_predictions().of("test")
    shown = [1] if len(classes) == 2 else [0, 1, 2]
    roc = read_csv("plots/roc.csv")
    assert list(dict.fromkeys(row["class"] for row in roc)) == [classes[label] for label in shown]
    for label in shown:
        x, y = (
            [float(row[column]) for row in roc if row["class"] == classes[label]]
            for column in ("false_positive_rate", "sensitivity")
        )
        area = sk.roc_auc_score(test.labels == label, test.ensemble[:, label])
        assert np.trapezoid(y, x) == pytest.approx(area, abs=1e-6)
        curve = [row for row in read_csv("plots/precision_recall.csv") if row["class"] == classes[label]]
        recall, precision = (
            np.array([float(row[name]) for row in curve]) for name in ("recall", "precision")
        )
        average = sk.average_precision_score(test.labels == label, test.ensemble[:, label])
        assert -np.sum(np.diff(recall) * precision[:-1]) == pytest.approx(average, abs=1e-6)
    pairs = [
        (classes.index(row["actual"]), classes.index(row["predicted"]))
        for row in read_csv("plots/confusion.csv")
    ]
    table = read_json("metrics/details.json")["test"]["decisions"]["released"]["confusion"]
    assert table == sk.confusion_matrix(*zip(*pairs, strict=True), labels=range(len(classes))).tolist()
    words = read_json("metrics/details.json")["test"]["decisions"]["released"]["top_confusion"]
    most = max(sum(pair == (a, b) for pair in pairs) for a in range(3) for b in range(3) if a != b)
    assert f": {most} of " in words
    assert np.trace(table) / len(pairs) == pytest.approx(
        read_json("metrics/test.json")["accuracy"]["ensemble"], abs=1e-6
    )


def test_learning_curve_is_the_mean_of_the_members(run):
    run(CLASSES[:2])
    rows = read_csv("plots/learning_curve.csv")
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    for row in rows:
        epoch = int(row["epoch"])
        assert float(row["train_nll"]) == pytest.approx((1 / epoch + 1 / (epoch + 1)) / 2, rel=1e-6)
        assert float(row["val_nll"]) == pytest.approx(2 / epoch)
        assert float(row["val_accuracy"]) == pytest.approx(0.125)


def test_learning_curve_is_drawn_of_all_members_with_the_released_epochs(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(evaluate, "learning_curves", lambda *arguments: drawn.append(arguments))
    run(CLASSES[:2])
    ((path, panels, chosen, _),) = drawn
    assert path == "plots/learning_curve.png"
    assert chosen.tolist() == [1, 2]
    assert [[curve.name for curve in curves] for curves in panels.values()] == [["train", "val"]] * 2
    np.testing.assert_allclose(panels["log loss"][0].values, [[1, 1 / 2, 1 / 3], [1 / 2, 1 / 3, 1 / 4]], 1e-6)


def test_a_member_that_stopped_early_leaves_a_gap(run, monkeypatch):
    run(CLASSES[:2])
    rows = [list(row.values()) for row in read_csv("models/history.csv")]
    write_csv("models/history.csv", HISTORY_COLUMNS, rows[:2] + rows[3:])
    drawn = []
    monkeypatch.setattr(evaluate, "learning_curves", lambda *arguments: drawn.append(arguments))
    evaluate.main()
    values = drawn[0][1]["log loss"][0].values
    assert np.isnan(values).tolist() == [[False, False, True], [False, False, False]]
    assert float(read_csv("plots/learning_curve.csv")[2]["train_nll"]) == pytest.approx(1 / 4, rel=1e-6)


def test_history_of_other_code_raises(run):
    run(CLASSES[:2])
    rows = [list(row.values())[:7] for row in read_csv("models/history.csv")]
    write_csv("models/history.csv", HISTORY_COLUMNS[:7], rows)
    with refused("models/history.csv: without the column released; build it again with `dvc repro train`"):
        evaluate.main()


@pytest.mark.parametrize("classes", [CLASSES[:2], CLASSES])
def test_figures_show_curves_bands_members_and_the_decision(run, monkeypatch, classes):
    drawn = {}
    for name in ("roc_curves", "precision_recall_curves"):
        monkeypatch.setattr(evaluate, name, lambda path, panels, title: drawn.update({path: panels}))
    run(classes)
    test = load_predictions().of("test")
    decisions = decide(test.ensemble, load_calibration().threshold)
    labels = [1] if len(classes) == 2 else [0, 1, 2]
    for label, roc, pr in zip(labels, *drawn.values(), strict=True):
        positive, called = test.labels == label, decisions == label
        assert roc.title == pr.title == classes[label]
        specificity = sk.recall_score(~positive, ~called)
        recall = sk.recall_score(positive, called)
        assert roc.curves[0].decision == pytest.approx((1 - specificity, recall))
        precision = sk.precision_score(positive, called, zero_division=np.nan)
        expected = None if np.isnan(precision) else pytest.approx((recall, precision))
        assert pr.curves[0].decision == expected
        assert pr.chance == pytest.approx((positive.mean(), positive.mean()))
        for panel in (roc, pr):
            assert len(panel.curves[0].members) == 2
            _, low, high = panel.curves[0].band
            assert (low <= high).all()
        area = read_json("metrics/details.json")["test"]["one_vs_rest"][classes[label]]["auc"]
        assert np.trapezoid(*roc.curves[0].points[::-1]) == pytest.approx(area["value"], abs=1e-6)
        assert f"AUC {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f})" == roc.curves[0].name


@pytest.mark.parametrize("classes", [CLASSES[:2], CLASSES])
def test_every_figure_is_opaque(run, classes):
    """So that dark text stays legible in an editor with a dark theme, and in print."""
    run(classes)
    for name in ("confusion", "learning_curve", "precision_recall", "roc"):
        with Image.open(f"plots/{name}.png") as figure:
            levels = np.asarray(figure.convert("RGBA"))
        assert (levels[..., 3] == 255).all()
        assert (levels[[0, 0, -1, -1], [0, -1, 0, -1], :3] == 255).all()  # the corners


@pytest.mark.parametrize("classes", [CLASSES[:2], CLASSES])
def test_details_follow_from_the_published_predictions(run, classes):
    run(classes)
    uniform, released = np.full(len(classes), 1 / len(classes)), load_calibration()
    for split, result in read_json("metrics/details.json").items():
        data = load_predictions().of(split)
        as_is = calibration_scores(data.labels, data.ensemble, 100)
        weighted = calibration_scores(data.labels, data.ensemble, 100, prevalence=uniform)
        for name in ("ece", "brier", "nll"):
            calibrated = result["calibration"]["temperature"]
            assert calibrated[name] == pytest.approx(as_is[name], abs=1e-6)
            assert calibrated[f"{name}_at_prevalence"] == pytest.approx(weighted[name], abs=1e-6)
        counts = np.bincount(data.labels)
        assert result["calibration"]["class_prevalence"] == pytest.approx(counts / counts.sum(), abs=1e-6)
        raw = released.undo(data.ensemble)
        nll = -np.log(raw[np.arange(len(raw)), data.labels]).mean()
        assert result["calibration"]["before"]["nll"]["value"] == pytest.approx(nll, abs=1e-6)
        assert result["shifted"]["prevalence"] == pytest.approx(
            np.divide((10, 14, 12)[: len(classes)], 24 + 12 * (len(classes) > 2)), abs=1e-6
        )
        assert ("operating_points" in result) == (len(classes) == 2)
        for point in result.get("operating_points", {}).values():
            table = sk.confusion_matrix(data.labels, data.ensemble[:, 1] >= point["threshold"])
            assert point["confusion"] == table.tolist()


def test_details_hold_what_acquisition_alone_reaches(run):
    run(CLASSES[:2])
    assert "acquisition" not in read_json("metrics/details.json")["test"]  # too few to fit anything
    write_packed({"train": (20, 20), "val": (8, 9), "test": (9, 8)}, CLASSES[:2])
    evaluate.main()
    details, expected = read_json("metrics/details.json"), acquisition_baseline(load_dataset(), 100)
    for split in ("val", "test"):
        assert details[split]["acquisition"] == {
            name: pytest.approx(score, abs=1e-6) for name, score in expected[split].items()
        }


@pytest.mark.parametrize("classes", [CLASSES[:2], CLASSES])
def test_reliability_diagram_is_written_as_numbers_too(run, classes):
    run(classes)
    test, rows = load_predictions().of("test"), read_csv("metrics/reliability.csv")
    expected = reliability_curve(test.labels, test.ensemble, np.full(len(classes), 1 / len(classes)))
    assert len(rows) == len(expected.images)
    for row, p, observed, images in zip(
        rows, expected.probability, expected.observed, expected.images, strict=True
    ):
        assert float(row["probability"]) == float(row["calibrated"]) == pytest.approx(p, rel=1e-6)
        assert float(row["observed"]) == pytest.approx(observed, abs=1e-6)
        assert float(row["low"]) - 1e-6 <= observed <= float(row["high"]) + 1e-6
        assert int(row["images"]) == images
    with Image.open("plots/reliability.png") as figure:
        assert min(figure.size) > 400


def test_details_state_how_many_images_are_unlike_the_training_images(run):
    run(CLASSES[:2])
    for result in read_json("metrics/details.json").values():
        assert result["typicality"]["unlike"]["value"] == 0  # val is too small to mark any
    make_all_unlike()
    evaluate.main()
    for result in read_json("metrics/details.json").values():
        assert result["typicality"]["unlike"]["value"] == 1
        assert result["typicality"]["unlike"]["low"] == pytest.approx(24 / (24 + 1.96**2), abs=1e-3)
        assert result["typicality"]["by_class"] == {"normal": 1, "pneumonia": 1}
        assert result["typicality"]["by_part"] == {"pixels": 1, "features": 1}


@pytest.mark.parametrize("classes", [CLASSES[:2], CLASSES])
def test_calibration_and_clinical_reading_follow_from_the_predictions(run, classes):
    run(classes)
    uniform = np.array(load_calibration().prevalence)
    for split, result in read_json("metrics/calibration.json").items():
        data = load_predictions().of(split)
        assert result.pop("patients") is None
        expected = calibration_report(data.labels, data.ensemble, uniform, 100)
        for weighting, found in result.items():
            for name, estimate in found.items():
                assert estimate == pytest.approx(expected[weighting][name], abs=1e-5), (weighting, name)
    clinical = read_json("metrics/clinical.json")
    assert Image.open("plots/clinical.png").size[0] > 100
    if len(classes) == 3:
        assert clinical == {}
        return
    test = load_predictions().of("test")
    tn, fp, fn, tp = sk.confusion_matrix(test.labels, test.ensemble[:, 1] >= THRESHOLD).ravel().tolist()
    assert clinical["confusion"] == {"tp": tp, "fn": fn, "fp": fp, "tn": tn}


def test_predictions_name_images_and_patients(run):
    run(CLASSES[:2])
    data = load_predictions()
    table = read_csv(dataset.LABELS)
    assert data.hashes.tolist() == [table[row]["sha256"][:DIGITS] for row in data.rows]
    assert data.patients is None  # the source does not know them
    for row in table:
        row["group"] = f"patient {int(row['row']) // 2}" if int(row["row"]) % 10 else ""
    write_csv(dataset.LABELS, dataset.COLUMNS, [row.values() for row in table])
    evaluate.main()
    patients = load_predictions().patients
    same = patients[:, None] == patients
    rows = data.rows
    named = rows % 10 != 0
    expected = (rows[:, None] // 2 == rows // 2) & named[:, None] & named | np.eye(len(rows), dtype=bool)
    assert np.array_equal(same, expected)
    content = read_json("metrics/calibration.json")["test"]
    of_test = load_predictions().of("test").patients
    assert content["patients"] == len(np.unique(of_test)) < len(of_test)


def test_calibration_without_a_prevalence_raises(run):
    run(CLASSES[:2])
    save_calibration(Calibration(1.7, THRESHOLD))
    with refused("models/calibration.json: states no prevalence; build it again with `dvc repro calibrate`"):
        evaluate.main()


def test_one_number_for_three_classes_raises(run):
    run(CLASSES)
    write_params(Path(), {"evaluate.prevalence": 0.1, "compute.threads": 1, "compute.device": "cpu"})
    with refused("params.yaml: evaluate.prevalence is 0.1, one number for 3 classes"):
        evaluate.main()


def test_stage_without_a_calibration_raises(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (2, 2), "val": (2, 2), "test": (2, 2)}, CLASSES[:2])
    write_params(tmp_path, {"compute.threads": 1})
    with refused("models/calibration.json: no calibration here"):
        evaluate.main()
    assert not (tmp_path / "metrics").exists()
