"""Class weights and sub-classes against imbalance, and the mapping from sub-classes to classes."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from cxr.core.dataset import load_dataset
from cxr.core.files import write_csv
from cxr.training.targets import Subclasses, class_weights, load_subclasses, make_targets
from tests.builders import refused, settings, write_packed

LABELS = np.array([0, 1, 1, 2, 1, 0, 1, 1])
CLASSES = ["normal", "covid", "sick"]
SUBCLASSES = ["normal", "covid_1", "covid_0", "sick", "covid_1", "normal", "covid_10", "covid_1"]


def targets(strategy, subclasses=SUBCLASSES, **changes):
    chosen = settings("imbalance", **{"strategy": strategy, "conflicting": 1.0} | changes)
    return make_targets(chosen, LABELS, CLASSES, Subclasses.named(subclasses))


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


def test_explicit_weights_are_used_unchanged():
    result = targets("both", class_weights=[2.0, 0.5, 0.5, 0.5, 1.0])
    assert result.weights.tolist() == [2.0, 0.5, 0.5, 0.5, 1.0]
    with refused("imbalance.class_weights has 2 numbers; give 3, one for each of normal, covid, sick"):
        targets("class_weights", class_weights=[1.0, 2.0])


PLAIN = ["none", "class_weights", "sampler", "focal", "logit_adjustment"]


@pytest.mark.parametrize("strategy", PLAIN)
def test_without_decomposition_the_outputs_are_the_classes(strategy):
    result = targets(strategy)
    assert result.outputs == CLASSES
    assert result.classes.tolist() == [0, 1, 2]
    assert np.array_equal(result.labels, LABELS)


@pytest.mark.parametrize("strategy", ["decompose", "both"])
def test_decomposition_maps_back(strategy):
    result = targets(strategy)
    # In the order of the classes, not of the alphabet: "normal" comes first.
    assert result.outputs == ["normal", "covid_0", "covid_1", "covid_10", "sick"]
    assert [result.outputs[label] for label in result.labels] == SUBCLASSES
    assert np.array_equal(result.classes[result.labels], LABELS)
    assert result.labels.dtype == np.int64  # as cross_entropy requires


@pytest.mark.parametrize("strategy", [*PLAIN, "decompose", "both"])
def test_weights_are_those_of_the_outputs(strategy):
    result = targets(strategy)
    count = len(result.outputs)
    weighted = strategy in ("class_weights", "both")
    expected = len(LABELS) / (count * np.bincount(result.labels)) if weighted else np.ones(count)
    np.testing.assert_allclose(result.weights, expected, rtol=1e-6)
    assert result.weights[result.labels].mean() == pytest.approx(1)  # so that lr means the same throughout


@pytest.mark.parametrize("strategy", PLAIN)
def test_every_strategy_changes_one_thing(strategy):
    result = targets(strategy, focal_gamma=3.0)
    prior = np.bincount(LABELS) / len(LABELS)
    np.testing.assert_allclose(
        result.offsets, np.log(prior) if strategy == "logit_adjustment" else 0, rtol=1e-6
    )
    assert result.gamma == (3.0 if strategy == "focal" else 0.0)
    assert (result.sampling is not None) == (strategy == "sampler")


def write_subclasses(rows) -> None:
    table = [(row, f"sub_{row}", row % 2) for row in rows]
    write_csv("data/subclasses.csv", ("row", "subclass", "conflicting"), table)


def test_subclasses_are_those_of_the_training_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (5, 7), "val": (2, 2), "test": (2, 2)}, ["normal", "sick"])
    data = load_dataset()
    rows = data.rows("train")
    write_subclasses(rows)
    assert load_subclasses(data).names == [f"sub_{row}" for row in rows]
    assert load_subclasses(data).conflicting.tolist() == [row % 2 == 1 for row in rows]
    for others in (rows[::-1], rows[:-1], [*rows, 99], data.rows("train", "val")[: len(rows)]):
        write_subclasses(others)
        with refused("data/subclasses.csv: its column row", "data/labels.csv", "`dvc repro cluster`"):
            load_subclasses(data)
    older = [("subclass",), [("x",)] * len(rows)], [("row", "subclass"), [(row, "x") for row in rows]]
    for columns, table in older:
        write_csv("data/subclasses.csv", columns, table)
        with refused("data/subclasses.csv: its column row", "conflicting is missing"):
            load_subclasses(data)


@pytest.mark.parametrize("strategy", ["none", "sampler"])
def test_conflicting_images_are_drawn_so_many_times_as_often(strategy):
    labels = np.array([0] * 4 + [1] * 12)
    conflicting = np.isin(np.arange(16), [0, 5, 6, 7])
    names = np.array(["normal", "sick"])[labels].tolist()
    chosen = settings("imbalance", strategy=strategy, conflicting=3.0)
    result = make_targets(chosen, labels, ["normal", "sick"], Subclasses(names, conflicting))
    assert result.sampling.sum() == pytest.approx(1)
    for label in (0, 1):
        of_class = result.sampling[labels == label]
        odd = conflicting[labels == label]
        assert of_class[odd] == pytest.approx(3 * of_class[~odd][0])
    weights = np.where(conflicting, 3, 1) / (np.array([4, 12])[labels] if strategy == "sampler" else 1)
    expected = [weights[labels == label].sum() / weights.sum() for label in (0, 1)]
    assert result.prior == pytest.approx(expected)  # what the network learns of the prevalence


def test_sampler_draws_classes_equally_often():
    sampling = targets("sampler").sampling
    assert [sampling[label == LABELS].sum() for label in range(3)] == pytest.approx([1 / 3] * 3)
    assert sampling.sum() == pytest.approx(1)
