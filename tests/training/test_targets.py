"""Weights and sub-classes against imbalance, and the way back from sub-classes to classes."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from cxr.training.targets import class_weights, make_targets
from tests.builders import refused, settings

LABELS = np.array([0, 1, 1, 2, 1, 0, 1, 1])
CLASSES = ["normal", "covid", "sick"]
SUBCLASSES = ["normal", "covid_1", "covid_0", "sick", "covid_1", "normal", "covid_10", "covid_1"]


def targets(strategy, subclasses=SUBCLASSES, **changes):
    return make_targets(settings("imbalance", strategy=strategy, **changes), LABELS, CLASSES, subclasses)


@pytest.mark.parametrize("sizes", [(1, 1), (1214, 3494), (7, 100, 1, 40)])
def test_balanced_weights_equal_scikit_learns(sizes):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    weights = class_weights(settings("imbalance", class_weights="balanced"), np.array(sizes), [])
    expected = compute_class_weight("balanced", classes=np.arange(len(sizes)), y=labels)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_published_weights():
    published = (1214, 3494)  # train of PneumoniaMNIST with its duplicates
    weights = class_weights(settings("imbalance", class_weights="balanced"), np.array(published), [])
    assert [f"{weight:.4f}" for weight in weights] == ["1.9390", "0.6737"]


def test_inverse_weights_have_mean_one_over_classes():
    weights = class_weights(settings("imbalance", class_weights="inverse"), np.array([10, 40, 200]), [])
    np.testing.assert_allclose(weights * [10, 40, 200], [weights[0] * 10] * 3, rtol=1e-6)
    assert weights.mean() == pytest.approx(1)


def test_explicit_weights_are_taken_as_they_are():
    found = targets("both", class_weights=[2.0, 0.5, 0.5, 0.5, 1.0])
    assert found.weights.tolist() == [2.0, 0.5, 0.5, 0.5, 1.0]
    with refused("imbalance.class_weights has 2 numbers; give 3, one for each of normal, covid, sick"):
        targets("class_weights", class_weights=[1.0, 2.0])


PLAIN = ["none", "class_weights", "sampler", "focal", "logit_adjustment"]


@pytest.mark.parametrize("strategy", PLAIN)
def test_without_decomposition_the_classes_are_learnt(strategy):
    found = targets(strategy)
    assert found.outputs == CLASSES
    assert found.classes.tolist() == [0, 1, 2]
    assert np.array_equal(found.labels, LABELS)


@pytest.mark.parametrize("strategy", ["decompose", "both"])
def test_decomposition_maps_back(strategy):
    found = targets(strategy)
    # In the order of the classes, not of the alphabet: "normal" comes first.
    assert found.outputs == ["normal", "covid_0", "covid_1", "covid_10", "sick"]
    assert [found.outputs[label] for label in found.labels] == SUBCLASSES
    assert np.array_equal(found.classes[found.labels], LABELS)
    assert found.labels.dtype == np.int64  # what cross entropy asks for


@pytest.mark.parametrize("strategy", [*PLAIN, "decompose", "both"])
def test_weights_are_those_of_what_is_learnt(strategy):
    found = targets(strategy)
    count = len(found.outputs)
    weighted = strategy in ("class_weights", "both")
    expected = len(LABELS) / (count * np.bincount(found.labels)) if weighted else np.ones(count)
    np.testing.assert_allclose(found.weights, expected, rtol=1e-6)
    assert found.weights[found.labels].mean() == pytest.approx(1)  # so that lr means the same throughout


@pytest.mark.parametrize("strategy", PLAIN)
def test_every_strategy_does_one_thing(strategy):
    found = targets(strategy, focal_gamma=3.0)
    prior = np.bincount(LABELS) / len(LABELS)
    np.testing.assert_allclose(
        found.offsets, np.log(prior) if strategy == "logit_adjustment" else 0, rtol=1e-6
    )
    assert found.gamma == (3.0 if strategy == "focal" else 0.0)
    assert (found.sampling is not None) == (strategy == "sampler")


def test_sampler_draws_classes_equally_often():
    sampling = targets("sampler").sampling
    assert [sampling[label == LABELS].sum() for label in range(3)] == pytest.approx([1 / 3] * 3)
    assert sampling.sum() == pytest.approx(1)
