"""Changes of the data whose effect on the results is known, carried through the stages on a few synthetic
radiographs."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr.core import dataset
from cxr.core.dataset import Dataset, load_dataset, save_dataset
from cxr.core.files import read_csv, read_json, write_csv
from cxr.data.phantom.cohort import make_phantoms
from cxr.embeddings.gallery import Gallery
from cxr.embeddings.vectors import classifier_vectors
from cxr.evaluation.metrics import summarise
from cxr.inference.calibration import load_calibration
from cxr.inference.gradcam import gradcam
from cxr.inference.predictions import load_predictions
from cxr.models.classifier import WEIGHTS, Classifier, load_classifier, predict
from cxr.params import load_params
from cxr.training.member import prepare
from cxr.training.targets import load_subclasses
from stages import calibrate, evaluate, train
from tests.builders import save_classifier, write_params

CPU = torch.device("cpu")
COUNTS = {"train": (20, 40), "val": (10, 20), "test": (12, 18)}
CLASSES = ("normal", "pneumonia")


def write_data(images: np.ndarray, table: list[tuple[str, ...]]) -> None:
    """Save the data set, and sub-classes that are the classes."""
    save_dataset(images, table, "plain")
    data = load_dataset()
    rows = [(row, data.classes[data.labels[row]], 0) for row in data.rows("train")]
    write_csv("data/subclasses.csv", ("row", "subclass", "conflicting"), rows)


def read_table() -> list[tuple[str, ...]]:
    """split, class, source, sha256 and group of each image."""
    return [tuple(row.values())[1:] for row in read_csv(dataset.LABELS)]


def write_radiographs() -> None:
    """Synthetic radiographs of 16 pixels in the working directory, and parameters for a short training."""
    images, table = [], []
    for split, counts in COUNTS.items():
        phantoms = make_phantoms(counts, 16, 0, split)
        images.append(phantoms.images)
        for label, patient in zip(phantoms.labels, phantoms.patients, strict=True):
            table.append((split, CLASSES[label], f"phantom/{len(table)}", "", str(patient)))
    pictures = np.concatenate(images)
    hashes = dataset.hash_images(pictures)
    write_data(pictures, [(*row[:3], h, row[4]) for row, h in zip(table, hashes, strict=True)])
    short = {"train.members": 2, "train.epochs": 2, "train.batch_size": 20, "train.precision": "float32"}
    short |= {"model.tta": "none", "calibrate.threshold": "youden"}
    short |= {"compute.workers": 1, "compute.threads": 1, "compute.device": "cpu"}
    write_params(Path(), short | {"evaluate.bootstrap": 100})


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A folder with radiographs and a classifier trained on them."""
    folder = tmp_path_factory.mktemp("metamorphic")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_radiographs()
        train.main()
    return folder


@pytest.fixture
def data(run, tmp_path, monkeypatch) -> Dataset:
    """That of a copy of `run`, the working directory."""
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return load_dataset()


def published() -> dict[str, bytes]:
    """What calibrate and evaluate write about the trained classifier, by path."""
    calibrate.main()
    evaluate.main()
    paths = ("models/calibration.json", "metrics/predictions.csv", "metrics/test.json", "plots/roc.csv")
    return {path: Path(path).read_bytes() for path in paths}


def nearest_sources() -> list[list[str]]:
    """Of each test image the files of the five training images nearest in the classifier's embedding."""
    data, model, table = load_dataset(), load_classifier(), read_table()
    rows, queries = data.rows("train"), data.rows("test")
    of_train, of_test = (classifier_vectors(model, data.images[part], CPU) for part in (rows, queries))
    found = Gallery.build(of_train, rows, "classifier", "cosine", "flat").search(of_test, 5).rows
    return [[table[row][2] for row in of_query] for of_query in found]


def test_the_order_of_training_images_changes_the_order_of_batches_alone(data):
    """Another order gives other weights. What is computed from the training images without an order is the
    same: normalisation, prior and loss weights, and for given weights calibration, metrics and nearest
    neighbours."""
    params, rows = load_params(), data.rows("train")
    images, table = np.array(data.images), read_table()

    def settings() -> tuple[object, ...]:
        read = load_dataset()
        spec, targets = prepare(params, read, rows, load_subclasses(read), CPU)
        return spec, targets.outputs, targets.weights.tolist(), targets.prior.tolist()

    before = published(), nearest_sources(), settings()
    order = np.arange(len(images))
    order[rows] = np.random.default_rng(0).permutation(rows)
    write_data(images[order], [table[row] for row in order])
    assert (published(), nearest_sources(), settings()) == before
    weights = WEIGHTS.read_bytes()
    train.main()
    assert WEIGHTS.read_bytes() != weights
    assert load_classifier().spec == before[2][0]


def mirror_classes(model: Classifier) -> None:
    """The same networks with the opposite outputs, for a data set with the opposite classes."""
    for member in model.members:
        head = member.head
        with torch.no_grad():
            head.weight.copy_(head.weight.flip(0))
            head.bias.copy_(head.bias.flip(0))
    save_classifier(Classifier(replace(model.spec, prior=model.spec.prior[::-1]), [*model.members]))


def test_exchanged_class_names_mirror_every_figure(data):
    def results() -> tuple[dict, dict, dict]:
        published()
        curves = {name: read_csv(f"plots/{name}.csv") for name in ("roc", "confusion")}
        return read_json("metrics/test.json"), curves, read_json("metrics/details.json")["test"]

    test, curves, details = results()
    calibration, predictions = load_calibration(), load_predictions()
    other = dict(zip(CLASSES, CLASSES[::-1], strict=True))
    table = [(row[0], other[row[1]], *row[2:]) for row in read_table()]
    write_data(np.array(data.images), table)
    mirror_classes(load_classifier())
    mirrored_test, mirrored_curves, mirrored_details = results()

    mirrored = load_calibration()
    assert mirrored.temperature == pytest.approx(calibration.temperature, abs=1e-4)
    points, opposite = calibration.operating_points, mirrored.operating_points
    for name, of_opposite in (
        ("youden", "youden"),
        ("target_sensitivity", "target_specificity"),
        ("target_specificity", "target_sensitivity"),
    ):
        assert points[name] == pytest.approx(1 - opposite[of_opposite], abs=1e-4)
    np.testing.assert_allclose(load_predictions().ensemble, predictions.ensemble[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(load_predictions().members, predictions.members[..., ::-1], atol=1e-5)

    exchanged = {"sensitivity": "specificity", "specificity": "sensitivity"}
    same = ("auc", "accuracy", "accuracy_at_one_half", "balanced_accuracy", "f1_macro", "mcc", "brier", "ece")
    for name in (*same, *exchanged):
        entry, of_mirrored = test[name], mirrored_test[exchanged.get(name, name)]
        for value in ("mean", "std", "ensemble"):
            assert of_mirrored[value] == pytest.approx(entry[value], abs=1e-4), name
    released, of_mirrored = (found["decisions"]["released"] for found in (details, mirrored_details))
    assert np.array_equal(np.array(of_mirrored["confusion"])[::-1, ::-1], released["confusion"])
    assert [(other[row["actual"]], other[row["predicted"]]) for row in mirrored_curves["confusion"]] == [
        (row["actual"], row["predicted"]) for row in curves["confusion"]
    ]
    opposite = [(1 - hit, 1 - alarm) for alarm, hit in corners(mirrored_curves["roc"])]
    np.testing.assert_allclose(sorted(opposite), sorted(corners(curves["roc"])), atol=1e-6)


def corners(roc: list[dict[str, str]]) -> list[tuple[float, float]]:
    """Where the curve turns: scikit-learn leaves out some of the points between, not the same from either
    end."""
    points = [(float(row["false_positive_rate"]), float(row["sensitivity"])) for row in roc]
    turns = [
        point
        for before, point, after in zip(points, points[1:], points[2:], strict=False)
        if abs(np.linalg.det(np.subtract([before, after], point))) > 1e-9
    ]
    return [points[0], *turns, points[-1]]


def test_mirrored_radiographs_have_mirrored_maps(data):
    """Of networks whose filters are their own mirror images."""
    model = load_classifier()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            with torch.no_grad():
                module.weight.copy_((module.weight + module.weight.flip(-1)) / 2)
    images = np.array(data.images[data.rows("test")])
    assert abs(images.astype(int) - images[..., ::-1]).mean() > 5
    for label in (0, 1):
        maps, of_mirrored = (
            gradcam(model, batch, np.full(len(batch), label), CPU) for batch in (images, images[..., ::-1])
        )
        np.testing.assert_allclose(of_mirrored, maps[..., ::-1], atol=1e-3)
        assert abs(maps - maps[..., ::-1]).max() > 0.1
    straight, of_mirrored = (predict(model, batch, CPU).mean for batch in (images, images[..., ::-1]))
    np.testing.assert_allclose(of_mirrored, straight, atol=1e-5)


def test_test_images_that_stand_twice_change_no_metric(data):
    """Nor how much members differ. (Their copies add nothing that is known about the classifier.)"""
    calibrate.main()
    evaluate.main()
    before, of_details = read_json("metrics/test.json"), read_json("metrics/details.json")["test"]
    test = data.rows("test")
    write_data(
        np.concatenate([data.images, data.images[test]]),
        [*read_table(), *(read_table()[row] for row in test)],
    )
    evaluate.main()
    after, details = read_json("metrics/test.json"), read_json("metrics/details.json")["test"]
    assert after.pop("majority_baseline") == before.pop("majority_baseline")
    for name, entry in before.items():
        for value in ("mean", "std", "ensemble"):
            assert after[name][value] == pytest.approx(entry[value], abs=1e-6), (name, value)
    released, doubled = (found["decisions"]["released"]["confusion"] for found in (of_details, details))
    assert np.array_equal(doubled, 2 * np.array(released))


def test_permuted_labels_cannot_be_learnt(data):
    """Whatever was trained on permuted labels: of permuted labels of test 95 % have intervals of the AUC that
    hold one half. Permuted within each split, so that no class changes its size."""
    table, generator = read_table(), np.random.default_rng(0)
    for split in dataset.SPLITS:
        rows = data.rows(split)
        drawn = [table[row][1] for row in generator.permutation(rows)]
        for row, name in zip(rows, drawn, strict=True):
            table[row] = (split, name, *table[row][2:])
    write_data(np.array(data.images), table)
    train.main()
    calibrate.main()
    evaluate.main()
    test = load_predictions().of("test")
    threshold = load_calibration().threshold
    found = [
        summarise(replace(test, labels=generator.permutation(test.labels)), threshold, 200).headline()["auc"]
        for _ in range(100)
    ]
    assert sum(auc["low"] <= 0.5 <= auc["high"] for auc in found) >= 87
    assert np.mean([auc["ensemble"] for auc in found]) == pytest.approx(0.5, abs=0.05)
    assert max(auc["high"] - auc["low"] for auc in found) < 0.6
