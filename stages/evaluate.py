"""Evaluate the released classifier on test, which no earlier stage reads."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from cxr.core import dataset
from cxr.core.dataset import load_dataset, small_classes
from cxr.core.device import configure
from cxr.core.errors import UserError, run
from cxr.core.files import read_csv, write_csv, write_json
from cxr.core.probabilities import decide
from cxr.evaluation import reliability
from cxr.evaluation.acquisition_baseline import acquisition_baseline
from cxr.evaluation.calibration_error import calibration_report
from cxr.evaluation.clinical import CURVE, clinical_reading
from cxr.evaluation.curves import GRID, OneVsRest, one_vs_rest
from cxr.evaluation.decision import threshold_samples
from cxr.evaluation.details import details, flagged
from cxr.evaluation.diagnostic_accuracy import predictive_values
from cxr.evaluation.metrics import confusion, majority_baseline, summarise
from cxr.evaluation.misclassifications import most_frequent_error
from cxr.evaluation.platt import calibration_methods
from cxr.evaluation.reliability import reliability_curve
from cxr.figures import charts
from cxr.figures.charts import ReliabilityDiagram
from cxr.figures.clinical import draw_clinical
from cxr.figures.curves import Curve, Panel, Points, precision_recall_curves, roc_curves
from cxr.figures.evaluation import LearningCurve, confusion_matrix, learning_curves
from cxr.figures.style import COLOURS, MARKED, PLAIN
from cxr.inference import calibration
from cxr.inference.calibration import load_calibration
from cxr.inference.predictions import DIGITS, Predictions, load_predictions, save_predictions
from cxr.inference.prevalence import class_prevalence, declared
from cxr.inference.typicality import ValDistances
from cxr.inference.typicality_model import load_typicality, measure
from cxr.models.classifier import load_classifier, predict
from cxr.params import load_params

HISTORY = Path("models/history.csv")
TITLES = {"before": "uncalibrated", "temperature": "temperature scaling", "platt": "Platt scaling"}


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
    model, reference = load_classifier(), load_typicality()
    raw = predict(model, data.images[rows], device)
    distances = measure(reference, model, data.images[rows], raw, device)
    p_typical = ValDistances(reference.val.numpy()).p_values(distances)
    save_predictions(
        Predictions(
            classes=data.classes,
            rows=rows,
            splits=data.splits[rows],
            labels=data.labels[rows],
            ensemble=calibrate(raw.mean),
            members=calibrate(raw.probabilities),
            hashes=np.array([row["sha256"][:DIGITS] for row in read_csv(dataset.LABELS)])[rows],
            patients=None if data.patients is None else data.patients[rows],
        )
    )
    # From here on from the published file alone, so that every number can be recomputed from it.
    published = load_predictions()
    test = published.of("test")
    splits = {split: published.of(split) for split in ("val", "test")}
    resamples = params.evaluate.bootstrap
    drawn = threshold_samples(splits["val"], calibrate, of_train.tolist(), params.calibrate.target, resamples)
    summaries = {
        split: summarise(of_split, calibrate.threshold, resamples, drawn)
        for split, of_split in splits.items()
    }
    summary = summaries["test"].headline()
    write_json("metrics/test.json", {**summary, "majority_baseline": majority_baseline(test.labels)})
    stated = np.array(calibrate.prevalence)
    methods = calibration_methods(published, calibrate, stated)
    methods_of = {
        split: {name: p[published.splits == split] for name, p in methods.items()} for split in splits
    }
    content = {
        split: details(
            of_split, summaries[split], calibrate, methods_of[split], stated, wanted, resamples, drawn
        )
        | {"typicality": flagged(p_typical[published.splits == split], of_split)}
        for split, of_split in splits.items()
    }
    for split, baseline in acquisition_baseline(data, resamples).items():
        content[split]["acquisition"] = baseline
    curves = {
        label: one_vs_rest(test.labels, test.ensemble, label, resamples, test.patients)
        for label in drawn_classes(test)
    }
    content["test"]["one_vs_rest"] = {test.classes[label]: curve.areas for label, curve in curves.items()}
    write_json("metrics/details.json", content)
    write_json(
        "metrics/calibration.json",
        {
            split: {
                "patients": None if of_split.patients is None else len(np.unique(of_split.patients)),
                **calibration_report(
                    of_split.labels, of_split.ensemble, stated, resamples, of_split.patients
                ),
            }
            for split, of_split in splits.items()
        },
    )
    write_clinical(splits["val"], test, calibrate.threshold, stated)
    write_reliability(test, methods_of["test"], stated)
    write_curves(test, calibrate.threshold, curves)
    write_confusion(test, calibrate.threshold)
    write_learning_curve()
    for split, of_split in splits.items():
        counts = {name: int(np.sum(of_split.labels == i)) for i, name in enumerate(data.classes)}
        if few := small_classes(counts):
            print(f"warning: {split} has {few}, too few to measure on: intervals may be too narrow")
    for name, value in summary.items():
        print(f"{name:24} {value['mean']:.4f} +- {value['std']:.4f}   ensemble {value['ensemble']:.4f}")
    print(
        "Most frequent error: "
        f"{most_frequent_error(test.labels, decide(test.ensemble, calibrate.threshold), test.classes)}."
    )


def write_clinical(val: Predictions, test: Predictions, threshold: float | None, stated: np.ndarray) -> None:
    """metrics/clinical.json and plots/clinical.png, which are empty with three classes or more."""
    if threshold is None:
        write_json("metrics/clinical.json", {})
        draw_clinical("plots/clinical.png", [], [], [], "")
        return
    reading = clinical_reading(val, test, threshold, stated)
    write_json("metrics/clinical.json", reading)
    counts = reading["effective_counts"]
    lines = [{"prevalence": p, **predictive_values(counts, p)} for p in CURVE]
    marked, curves = reading["predictive_values"], reading["net_benefit"]
    draw_clinical("plots/clinical.png", lines, marked, curves, test.classes[1])


def write_reliability(test: Predictions, methods: dict[str, np.ndarray], prevalence: np.ndarray) -> None:
    """metrics/reliability.csv and plots/reliability.png: the reliability diagram of each calibration method.

    methods: (N, classes) float each. prevalence: (classes,) float, to which images are weighted.
    """
    curves = {
        name: reliability_curve(test.labels, p, prevalence, test.patients) for name, p in methods.items()
    }
    released = curves["temperature"]
    # `calibrated` is the probability again: a diagonal to plot.
    header = ("probability", "observed", "calibrated", "low", "high", "images")
    columns = (
        *(released.probability, released.observed, released.probability),
        *(released.low, released.high, released.images),
    )
    write_csv("metrics/reliability.csv", header, zip(*columns, strict=True))
    axes = "predicted probability of the most probable class", "observed frequency"
    if len(test.classes) == 2:
        axes = f"predicted probability of {test.classes[1]}", "observed frequency"
    weighting = ", ".join(f"{p:.0%} {name}" for p, name in zip(prevalence, test.classes, strict=True))
    charts.reliability_diagrams(
        "plots/reliability.png",
        [
            ReliabilityDiagram(
                f"{TITLES[name]}\nECE at this prevalence: {curve.error:.3f}",
                *(curve.probability, curve.observed, curve.low, curve.high, curve.images),
                bins=reliability.BINS,
                probabilities=reliability.events(test.labels, methods[name])[0],
            )
            for name, curve in curves.items()
        ],
        f"Reliability on test, radiographs weighted to the prevalence of the probabilities: {weighting}",
        axes,
    )


def drawn_classes(test: Predictions) -> list[int]:
    """The classes whose curves are drawn: the second of two, or else each against the rest."""
    return [1] if len(test.classes) == 2 else [*range(len(test.classes))]


def write_curves(test: Predictions, threshold: float | None, curves: Mapping[int, OneVsRest]) -> None:
    """plots/roc.csv, precision_recall.csv: the curves of the classes of `curves`; as figures with bands."""
    decisions = decide(test.ensemble, threshold)
    table = confusion(test.labels, decisions, len(test.classes))
    roc, pr = [], []
    roc_panels, pr_panels = [], []
    for label, of_class in curves.items():
        name, colour = test.classes[label], COLOURS[label % len(COLOURS)]
        positive = test.labels == label
        (of_ensemble, *of_members), (pr_of_ensemble, *pr_of_members) = (
            [points(positive, p[:, label]) for p in (test.ensemble, *test.members)]
            for points in (roc_points, precision_recall_points)
        )
        roc += [(name, *point) for point in zip(*of_ensemble, strict=True)]
        pr += [(name, *point) for point in zip(*pr_of_ensemble, strict=True)]
        hits, called = table[label, label], table[:, label].sum()
        recall = float(hits / positive.sum())
        auc, average_precision = (of_class.areas[key] for key in ("auc", "average_precision"))
        roc_panels.append(
            Panel(
                name,
                [
                    Curve(
                        f"AUC {_with_interval(auc)}",
                        of_ensemble,
                        colour,
                        decision=(float((called - hits) / (~positive).sum()), recall),
                        band=(GRID, of_class.roc.low, of_class.roc.high),
                        members=of_members if len(of_members) > 1 else [],
                    )
                ],
                chance=(0, 1),
            )
        )
        pr_panels.append(
            Panel(
                name,
                [
                    Curve(
                        f"average precision {_with_interval(average_precision)}",
                        pr_of_ensemble,
                        colour,
                        decision=(recall, float(hits / called)) if called else None,
                        band=(GRID, of_class.precision_recall.low, of_class.precision_recall.high),
                        members=pr_of_members if len(pr_of_members) > 1 else [],
                    )
                ],
                chance=(positive.mean(), positive.mean()),
            )
        )
    write_csv("plots/roc.csv", ("class", "false_positive_rate", "sensitivity"), roc)
    write_csv("plots/precision_recall.csv", ("class", "recall", "precision"), pr)
    against = "" if len(test.classes) == 2 else ", each class against the rest"
    count = f"{len(test.labels):,} test radiographs{against}"
    roc_curves("plots/roc.png", roc_panels, f"ROC curve, {count}")
    precision_recall_curves("plots/precision_recall.png", pr_panels, f"Precision-recall curve, {count}")


def roc_points(positive: np.ndarray, probability: np.ndarray) -> Points:
    """False positive rate and sensitivity, (P,) each."""
    false_positive, true_positive, _ = roc_curve(positive, probability)
    return false_positive, true_positive


def precision_recall_points(positive: np.ndarray, probability: np.ndarray) -> Points:
    """Recall and precision, (P,) each."""
    precision, recall, _ = precision_recall_curve(positive, probability)
    return recall, precision


def _with_interval(value: Mapping[str, float]) -> str:
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def write_confusion(test: Predictions, threshold: float | None) -> None:
    """plots/confusion.csv: the true class and the decision of each image; as a figure, counted."""
    names = np.array(test.classes)
    decisions = decide(test.ensemble, threshold)
    rows = zip(names[test.labels], names[decisions], strict=True)
    write_csv("plots/confusion.csv", ("actual", "predicted"), rows)
    at = "most probable class" if threshold is None else f"{test.classes[1]} from p = {threshold:.3g}"
    confusion_matrix(
        "plots/confusion.png",
        confusion(test.labels, decisions, len(test.classes)),
        test.classes,
        f"Confusion matrix on test\n({at}; shares of the true class)",
    )


def write_learning_curve() -> None:
    """plots/learning_curve.csv: the mean over members of each column of models/history.csv, for each
    epoch. plots/learning_curve.png: every member.

    Raises `UserError` if the history does not say which epoch is released.
    """
    history = read_csv(HISTORY)
    if "released" not in history[0]:
        raise UserError(f"{HISTORY}: without the column released; build it again with `dvc repro train`")
    columns = ("train_nll", "val_nll", "train_accuracy", "val_accuracy")
    members, epochs = (sorted({int(row[name]) for row in history}) for name in ("member", "epoch"))
    values = np.full((len(columns), len(members), len(epochs)), np.nan)
    chosen = np.zeros(len(members), int)
    for row in history:
        member, epoch = members.index(int(row["member"])), int(row["epoch"]) - 1
        values[:, member, epoch] = [float(row[name]) for name in columns]
        if row["released"] == "1":
            chosen[member] = epoch
    means = np.nanmean(values, axis=1).T
    write_csv(
        "plots/learning_curve.csv", ("epoch", *columns), [(e, *m) for e, m in zip(epochs, means, strict=True)]
    )
    curves = [
        LearningCurve(name.split("_")[0], colour, of_column)
        for name, colour, of_column in zip(columns, (PLAIN, MARKED) * 2, values, strict=True)
    ]
    learning_curves(
        "plots/learning_curve.png",
        {"log loss": curves[:2], "accuracy": curves[2:]},
        chosen,
        "Learning curve, measured on unaugmented images after every epoch",
    )


if __name__ == "__main__":
    run(main)
