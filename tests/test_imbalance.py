"""Weights and sub-classes against imbalance, and the way back from sub-classes to classes."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from cxr.imbalance import balanced_weights, make_targets

LABELS = np.array([0, 1, 1, 2, 1, 0, 1, 1])
CLASSES = ["normal", "covid", "sick"]
SUBCLASSES = ["normal", "covid_1", "covid_0", "sick", "covid_1", "normal", "covid_10", "covid_1"]


@pytest.mark.parametrize("sizes", [(1, 1), (1214, 3494), (7, 100, 1, 40)])
def test_balanced_weights_equal_scikit_learns(sizes):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    weights = balanced_weights(labels, len(sizes))
    expected = compute_class_weight("balanced", classes=np.arange(len(sizes)), y=labels)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@pytest.mark.parametrize("strategy", ["none", "class_weights"])
def test_without_decomposition_the_classes_are_learnt(strategy):
    targets = make_targets(strategy, LABELS, CLASSES, SUBCLASSES)
    assert targets.outputs == CLASSES
    assert targets.classes.tolist() == [0, 1, 2]
    assert np.array_equal(targets.labels, LABELS)


@pytest.mark.parametrize("strategy", ["decompose", "both"])
def test_decomposition_maps_back(strategy):
    targets = make_targets(strategy, LABELS, CLASSES, SUBCLASSES)
    # In the order of the classes, not of the alphabet: "normal" comes first.
    assert targets.outputs == ["normal", "covid_0", "covid_1", "covid_10", "sick"]
    assert [targets.outputs[label] for label in targets.labels] == SUBCLASSES
    assert np.array_equal(targets.classes[targets.labels], LABELS)
    assert targets.labels.dtype == np.int64  # what cross entropy asks for


@pytest.mark.parametrize(
    ("strategy", "weighted"), [("none", False), ("decompose", False), ("class_weights", True), ("both", True)]
)
def test_weights_are_those_of_what_is_learnt(strategy, weighted):
    targets = make_targets(strategy, LABELS, CLASSES, SUBCLASSES)
    count = len(targets.outputs)
    expected = len(LABELS) / (count * np.bincount(targets.labels)) if weighted else np.ones(count)
    np.testing.assert_allclose(targets.weights, expected, rtol=1e-6)
    assert targets.weights[targets.labels].mean() == pytest.approx(1)  # so that lr means the same throughout
