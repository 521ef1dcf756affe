"""Kappa equals scikit-learn's, its interval a bootstrap written out; counts by true class equal counting."""

from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from cxr.evaluation.statistics import blocks, wilson
from cxr.reports import agreement
from cxr.reports.agreement import by_true_class, kappa

CLASSES = ["normal", "pneumonia"]


def drawn(cases=60, seed=0):
    """Labels, and names that mostly equal them, some unclear."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(CLASSES, cases, p=[0.3, 0.7])
    other = generator.choice([*CLASSES, "unclear"], cases)
    return np.where(generator.random(cases) < 0.6, labels, other).tolist(), labels.tolist()


def test_kappa_and_its_interval_equal_a_bootstrap_by_scikit_learn(monkeypatch):
    monkeypatch.setattr(agreement, "RESAMPLES", 200)
    names, labels = drawn()
    result = kappa(names, labels)
    assert result["value"] == pytest.approx(cohen_kappa_score(names, labels))
    coded = np.unique(labels, return_inverse=True)[1]
    samples = [
        cohen_kappa_score(names, labels, sample_weight=weights)
        for block in blocks(coded, 200)
        for weights in block
    ]
    low, high = np.percentile(samples, [2.5, 97.5])
    assert (result["low"], result["high"]) == pytest.approx((low, high))
    assert result["low"] < result["value"] < result["high"]


def test_a_constant_answer_has_accuracy_but_no_kappa():
    labels = ["pneumonia"] * 9 + ["normal"]
    always = ["pneumonia"] * 10
    assert agreement.agreement(always, labels)["value"] == 0.9
    assert kappa(always, labels) == pytest.approx({"value": 0, "low": 0, "high": 0})
    assert by_true_class(always, labels, CLASSES)["balanced_accuracy"] == 0.5


@pytest.mark.parametrize("names", [["normal"] * 3, ["normal", "normal", "unclear"]])
def test_with_one_true_class_kappa_is_0_or_not_defined(names):
    result = kappa(names, ["normal"] * 3)
    if len(set(names)) == 1:
        assert result is None
    else:
        assert result == pytest.approx({"value": 0, "low": 0, "high": 0})


def test_counts_by_true_class():
    names, labels = drawn()
    summary = by_true_class(names, labels, CLASSES, ["unclear"])
    counted = Counter(zip(labels, names, strict=True))
    for label in CLASSES:
        assert summary["verdicts"][label] == {name: counted[label, name] for name in [*CLASSES, "unclear"]}
        proportion = counted[label, label] / labels.count(label)
        low, high = wilson(proportion, labels.count(label))
        assert summary["recall"][label] == {"value": proportion, "low": float(low), "high": float(high)}
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert summary["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, names))


def test_a_class_without_cases_has_no_recall():
    summary = by_true_class(["normal"], ["normal"], CLASSES)
    assert set(summary["recall"]) == {"normal"}
    assert summary["balanced_accuracy"] == 1
    assert summary["verdicts"]["pneumonia"] == {"normal": 0, "pneumonia": 0}
