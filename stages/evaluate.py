"""Describe the released classifier on test, which nothing before this stage has looked at."""

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from cxr.core.dataset import load_dataset
from cxr.core.device import configure
from cxr.core.errors import UserError, run
from cxr.core.files import read_csv, write_csv, write_json
from cxr.core.probabilities import decide
from cxr.evaluation import reliability
from cxr.evaluation.details import details
from cxr.evaluation.metrics import majority_baseline, most_frequent_error, summarise
from cxr.evaluation.platt import calibration_methods
from cxr.evaluation.reliability import reliability_curve
from cxr.figures import charts
from cxr.figures.charts import ReliabilityDiagram
from cxr.inference import calibration
from cxr.inference.calibration import load_calibration
from cxr.inference.predictions import Predictions, load_predictions, save_predictions
from cxr.inference.prevalence import class_prevalence, declared
from cxr.models.classifier import load_classifier, predict
from cxr.params import load_params


def main() -> None:
    params = load_params()
    device = configure(params.compute.device, params.compute.threads)
    data = load_dataset()
    calibrate = load_calibration()
    if calibrate.prevalence is None:
        raise UserError(
            f"{calibration.PATH}: states no prevalence; build it again with `dvc repro calibrate`"
        )
    of_train = class_prevalence(data.labels[data.rows("train")], len(data.classes))
    wanted = declared(params.evaluate.prevalence, of_train, "evaluate.prevalence")
    rows = data.rows("val", "test")
    raw = predict(load_classifier(), data.images[rows], device)
    save_predictions(
        Predictions(
            classes=data.classes,
            rows=rows,
            splits=data.splits[rows],
            labels=data.labels[rows],
            ensemble=calibrate(raw.mean),
            members=calibrate(raw.probabilities),
        )
    )
    # From here on only the published file counts, so that anyone can recompute every number from it.
    published = load_predictions()
    test = published.of("test")
    splits = {split: published.of(split) for split in ("val", "test")}
    resamples = params.evaluate.bootstrap
    summaries = {split: summarise(each, calibrate.threshold, resamples) for split, each in splits.items()}
    summary = summaries["test"].headline()
    write_json("metrics/test.json", {**summary, "majority_baseline": majority_baseline(test.labels)})
    stated = np.array(calibrate.prevalence)
    methods = calibration_methods(published, calibrate, stated)
    of_split = {
        split: {name: p[published.splits == split] for name, p in methods.items()} for split in splits
    }
    write_json(
        "metrics/details.json",
        {
            split: details(each, summaries[split], calibrate, of_split[split], stated, wanted, resamples)
            for split, each in splits.items()
        },
    )
    write_reliability(test, of_split["test"], stated)
    write_curves(test)
    write_learning_curve()
    for name, value in summary.items():
        print(f"{name:24} {value['mean']:.4f} +- {value['std']:.4f}   ensemble {value['ensemble']:.4f}")
    print(most_frequent_error(test.labels, decide(test.ensemble, None), test.classes))


def write_reliability(test: Predictions, methods: dict[str, np.ndarray], prevalence: np.ndarray) -> None:
    """The reliability diagram of each way to calibrate, of radiographs weighted to what probabilities refer
    to."""
    curves = {name: reliability_curve(test.labels, p, prevalence) for name, p in methods.items()}
    released = curves["temperature"]
    # `calibrated` is the probability again: a diagonal to plot.
    header = ("probability", "found", "calibrated", "low", "high", "images")
    columns = (
        *(released.probability, released.share, released.probability),
        *(released.low, released.high, released.images),
    )
    write_csv("metrics/reliability.csv", header, zip(*columns, strict=True))
    axes = "probability of the most probable class", "share of radiographs that are of it"
    if len(test.classes) == 2:
        axes = f"probability of {test.classes[1]}", f"share of radiographs with {test.classes[1]}"
    mix = ", ".join(f"{share:.0%} {name}" for share, name in zip(prevalence, test.classes, strict=True))
    charts.reliability_diagrams(
        "plots/reliability.png",
        [
            ReliabilityDiagram(
                f"{name}: ECE {curve.error:.3f}",
                *(curve.probability, curve.share, curve.low, curve.high, curve.images),
                bins=reliability.BINS,
                probabilities=reliability.events(test.labels, methods[name])[0],
            )
            for name, curve in curves.items()
        ],
        f"Reliability on test, radiographs weighted to {mix}",
        axes,
    )


def write_curves(test: Predictions) -> None:
    """ROC and precision-recall curve of each positive class against the rest, and the confusion table."""
    roc, pr = [], []
    for label, name in (
        list(enumerate(test.classes))[1:] if len(test.classes) == 2 else enumerate(test.classes)
    ):
        false_positive, true_positive, _ = roc_curve(test.labels == label, test.ensemble[:, label])
        roc += [(name, *point) for point in zip(false_positive, true_positive, strict=True)]
        precision, recall, _ = precision_recall_curve(test.labels == label, test.ensemble[:, label])
        pr += [(name, *point) for point in zip(recall, precision, strict=True)]
    write_csv("plots/roc.csv", ("class", "false_positive_rate", "sensitivity"), roc)
    write_csv("plots/precision_recall.csv", ("class", "recall", "precision"), pr)
    names = np.array(test.classes)
    decisions = decide(test.ensemble, None)
    write_csv(
        "plots/confusion.csv", ("actual", "predicted"), zip(names[test.labels], names[decisions], strict=True)
    )


def write_learning_curve() -> None:
    """The mean over members of each column of models/history.csv, for each epoch."""
    history = read_csv("models/history.csv")
    columns = ("train_nll", "val_nll", "train_accuracy", "val_accuracy")
    epochs = sorted({int(row["epoch"]) for row in history})
    values = np.array([[float(row[name]) for name in columns] for row in history])
    of_epoch = np.array([int(row["epoch"]) for row in history])
    means = [(epoch, *values[of_epoch == epoch].mean(axis=0)) for epoch in epochs]
    write_csv("plots/learning_curve.csv", ("epoch", *columns), means)


if __name__ == "__main__":
    run(main)
