"""The table by class equals scikit-learn's classification report; its intervals are those of a bootstrap."""

import numpy as np
import pytest
from sklearn.metrics import classification_report as reference

from cxr.core.probabilities import decide
from cxr.evaluation.classification import MEASURES, classification_report
from cxr.evaluation.statistics import blocks
from tests.builders import drawn_predictions

NAMES = {"precision": "precision", "recall": "recall", "f1": "f1-score", "support": "support"}


def expected(labels, decisions, classes):
    numbers = [*range(len(classes))]
    report = reference(labels, decisions, labels=numbers, output_dict=True, zero_division=0)
    rows = {name: report[str(number)] for number, name in enumerate(classes)}
    rows |= {name: report[f"{name} avg"] for name in ("macro", "weighted")}
    return {name: {key: row[of_sklearn] for key, of_sklearn in NAMES.items()} for name, row in rows.items()}


@pytest.mark.parametrize(("classes", "threshold"), [(2, 0.3), (2, 1.0), (3, None)])
def test_values_equal_scikit_learn(classes, threshold):
    """At a threshold of 1 no image is called positive: that precision has no denominator."""
    data = drawn_predictions([1.4, 1.2], classes=classes).of("test")
    report = classification_report(data, threshold, 100)
    assert list(report["per_class"]) == data.classes
    assert list(report["averages"]) == ["macro", "weighted"]
    rows = expected(data.labels, decide(data.ensemble, threshold), data.classes)
    for name, row in (report["per_class"] | report["averages"]).items():
        values = {measure: row[measure]["value"] for measure in MEASURES} | {"support": row["support"]}
        assert values == pytest.approx(rows[name])


@pytest.mark.parametrize("classes", [2, 3])
def test_intervals_are_those_of_resampled_images(classes):
    data = drawn_predictions([1.4, 1.2], images=150, classes=classes).of("test")
    drawn = None if classes == 3 else np.linspace(0.3, 0.6, 60)
    report = classification_report(data, 0.5 if classes == 2 else None, 60, drawn)
    (counts,) = blocks(data.labels, 60)
    samples = []
    for row, images in enumerate(counts.astype(int)):
        copies = np.repeat(np.arange(len(images)), images)
        decided = decide(data.ensemble[copies], None if drawn is None else drawn[row])
        samples.append(expected(data.labels[copies], decided, data.classes))
    for name, row in (report["per_class"] | report["averages"]).items():
        for measure in MEASURES:
            low, high = np.percentile([sample[name][measure] for sample in samples], [2.5, 97.5])
            assert (row[measure]["low"], row[measure]["high"]) == pytest.approx((low, high))
