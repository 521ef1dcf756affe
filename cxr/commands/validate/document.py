"""What `cxr validate --json` writes, from which the summary and the page are made as well."""

from typing import Any

from cxr.commands.validate.measurement import ONE_HALF, decisions
from cxr.commands.validate.validation import Validation
from cxr.commands.validate.verdict import Difference
from cxr.evaluation.metrics import confusion
from cxr.inference.typicality import LIMIT
from cxr.reports.disclaimer import NOTICE


def validation_document(validation: Validation) -> dict[str, Any]:
    """Numbers are finite; None is what is not known or not measured.

    verdict: "as good as on test", "worse than on test", "cannot tell" or "not compared"; sentence: with the
        reason; images_needed: see `Verdict`; differences: of each compared metric here, test, difference with
        the 95 % interval low to high, and margin
    model: sha256, classes, threshold of the second class's probability (None: the
        most probable class is the decision), prevalence to which probabilities refer
    data: images (that could be read), of_class, prevalence of each class, patients (None: unknown, images
        count as independent), labels (where they are from), warnings, errors (path and message of each file
        that could not be read)
    metrics: by name value, low, high, method (of the interval) and test (the same on test, or None); names
        that end in _at_one_half are of the most probable class, others of the released decision
    ece_by_chance: see `cxr.evaluation.reliability.ece_by_chance`
    confusion: counts of each decision, released and, if its threshold is another than 0.5, most_probable, a
        row for each true class
    typicality: images flagged as unlike the training images, and their fraction
    images: path, label, decision, probabilities and typicality of each
    misclassified: positions in images, by increasing probability of the true class
    """
    sample, facts, verdict = validation.sample, validation.model.facts, validation.verdict
    classes, reference = sample.classes, validation.reference
    of_test = {} if isinstance(reference, str) else reference.metrics
    tables = {
        "most_probable" if ending == ONE_HALF else "released": confusion(sample.labels, decided, len(classes))
        for ending, decided in decisions(sample, facts.threshold).items()
    }
    counts = sample.counts
    return {
        "notice": NOTICE,
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "images_needed": verdict.needed,
        "differences": {name: _difference(each) for name, each in verdict.differences.items()},
        "model": {
            "sha256": validation.model.sha256,
            "classes": classes,
            "threshold": facts.threshold,
            "prevalence": facts.prevalence and dict(zip(classes, facts.prevalence, strict=True)),
        },
        "data": {
            "images": len(sample.labels),
            "of_class": dict(zip(classes, counts.tolist(), strict=True)),
            "prevalence": dict(zip(classes, (counts / counts.sum()).tolist(), strict=True)),
            "patients": None if sample.patients is None else int(sample.patients.max()) + 1,
            "labels": validation.source,
            "warnings": validation.warnings,
            "errors": validation.errors,
        },
        "metrics": {
            name: {**metric._asdict(), "test": of_test[name]._asdict() if name in of_test else None}
            for name, metric in validation.metrics.items()
        },
        "ece_by_chance": validation.chance,
        "confusion": {name: table.tolist() for name, table in tables.items()},
        "typicality": _typicality(validation),
        "images": [_image(validation, position) for position in range(len(sample.labels))],
        "misclassified": validation.misclassified.tolist(),
    }


def _difference(each: Difference) -> dict[str, float | None]:
    return {
        "here": each.here.value,
        "test": each.test.value,
        "difference": each.value,
        "low": each.low,
        "high": each.high,
        "margin": each.margin,
    }


def _typicality(validation: Validation) -> dict[str, float]:
    unlike = validation.typicality < LIMIT
    return {"unlike": int(unlike.sum()), "fraction": float(unlike.mean())}


def _image(validation: Validation, position: int) -> dict[str, Any]:
    sample, classes = validation.sample, validation.sample.classes
    return {
        "path": str(validation.paths[position]),
        "label": classes[sample.labels[position]],
        "decision": classes[validation.decided[position]],
        "probabilities": dict(zip(classes, sample.probabilities[position].tolist(), strict=True)),
        "typicality": float(validation.typicality[position]),
    }
