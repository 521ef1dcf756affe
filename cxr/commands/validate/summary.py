"""What `cxr validate` prints, from its document: the verdict in the first line, then the evidence."""

from collections.abc import Iterator, Mapping
from typing import Any

from cxr.commands.validate.measurement import ONE_HALF
from cxr.inference.typicality import LIMIT

Document = Mapping[str, Any]
INTERVALS = (
    "Intervals cover 95 %: for proportions Wilson's, for AUC the wider of DeLong's and Newcombe's, for "
    "others a bootstrap."
)
# The metrics shown, of the ranking, of a decision and of the probabilities; "positive" is the second class.
RANKING = ("auc", "auc_ovr_macro", "average_precision", "average_precision_macro")
DECISION = ("balanced_accuracy", "sensitivity", "specificity", "accuracy", "ppv", "npv", "f1_positive", "mcc")
PROBABILITIES = ("brier", "log_loss", "ece", "ece_at_prevalence")
WORDS = {
    "auc": "AUC",
    "auc_ovr_macro": "AUC, mean of classes",
    "average_precision_macro": "average precision, mean of classes",
    "ppv": "PPV (positive predictive value)",
    "npv": "NPV (negative predictive value)",
    "mcc": "MCC",
    "brier": "Brier score",
    "ece": "ECE",
    "ece_at_prevalence": "ECE at the model's prevalence",
}


def summary_lines(document: Document) -> Iterator[str]:
    yield document["sentence"]
    yield data_sentence(document)
    yield from (f"Warning: {warning}" for warning in document["data"]["warnings"])
    yield ""
    yield f"{'':34}{'here':25}test"
    for title, rows in metric_groups(document).items():
        yield title
        for name, metric in rows:
            test = with_ends(metric["test"]) if metric["test"] else "-"
            yield f"  {name:32}{with_ends(metric):25}{test}"
    yield ""
    for name, rows in document["confusion"].items():
        yield f"{decision_words(name, document)}:"
        yield from confusion_lines(rows, document["model"]["classes"])
    yield ""
    yield from notes(document)
    yield document["notice"]


def data_sentence(document: Document) -> str:
    data = document["data"]
    counts = ", ".join(
        f"{count:,} {name} ({data['prevalence'][name]:.1%})" for name, count in data["of_class"].items()
    )
    unread = f"; {len(data['errors']):,} files could not be read" if data["errors"] else ""
    return f"{data['images']:,} radiographs: {counts}; labels from {data['labels']}{unread}."


def metric_groups(document: Document) -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
    """By the title of a group, the metrics to show: name in words, and its entry in the document."""
    classes, metrics = document["model"]["classes"], document["metrics"]
    recalls = [f"recall_{name}" for name in classes]
    decision = [name.replace("f1_positive", f"f1_{classes[1]}") for name in (*DECISION, "f1_macro", *recalls)]
    if len(classes) == 2:
        decision.remove("f1_macro")
    shown = {"Ranking": list(RANKING)}
    for name in document["confusion"]:
        ending = ONE_HALF if name == "most_probable" else ""
        shown[decision_words(name, document)] = [f"{metric}{ending}" for metric in decision]
    shown["Probabilities"] = list(PROBABILITIES)
    groups = {
        title: [(metric_words(name), metrics[name]) for name in names if name in metrics]
        for title, names in shown.items()
    }
    return {title: rows for title, rows in groups.items() if rows}


def metric_words(name: str) -> str:
    plain = name.removesuffix(ONE_HALF)
    return WORDS.get(plain, plain.replace("_", " ").replace("f1", "F1"))


def with_ends(metric: Mapping[str, Any]) -> str:
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"


def decision_words(name: str, document: Document) -> str:
    """name: a key of the document's `confusion`."""
    model = document["model"]
    if name == "released" and model["threshold"] is not None:
        return f"Released decision, {model['classes'][1]} from p = {model['threshold']:.3f}"
    if len(model["classes"]) == 2:
        return f"Decision of the most probable class, {model['classes'][1]} from p = 0.5"
    return "Decision of the most probable class"


def confusion_lines(rows: list[list[int]], classes: list[str]) -> Iterator[str]:
    for name, row in zip(classes, rows, strict=True):
        decided = ", ".join(f"{count:,} as {other}" for other, count in zip(classes, row, strict=True))
        yield f"  {name}: classified {decided}"


def notes(document: Document) -> Iterator[str]:
    data, chance, typicality = document["data"], document["ece_by_chance"], document["typicality"]
    if chance:
        yield (
            f"A perfectly calibrated model with these probabilities would have an ECE of "
            f"{chance['mean']:.3f} here by chance, below {chance['high']:.3f} in 95 % of samples."
        )
    if prevalence := document["model"]["prevalence"]:
        proportions = ", ".join(f"{value:.0%} {name}" for name, value in prevalence.items())
        yield f"Probabilities refer to a prevalence of {proportions}."
    yield (
        f"{typicality['unlike']:,} radiographs ({typicality['fraction']:.1%}) are flagged as unlike the "
        f"training images; of radiographs like these about {LIMIT:.0%} are."
    )
    if data["patients"] is None:
        yield "No patients are known: every image counts as an independent case."
    else:
        yield f"Intervals take {data['patients']:,} patients, not images, for independent cases."
    yield INTERVALS
