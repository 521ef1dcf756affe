"""The choice of cases: equal numbers from every stratum of label and decision, or a fair sample of test; both
reproducible."""

from collections import Counter

import numpy as np
import pytest

from cxr.reports.cases import choose_cases
from tests.builders import settings

REPORT = settings("report")


def drawn(images=400, classes=2, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, images)
    wrong = generator.random(images) < 0.2
    return labels, np.where(wrong, (labels + generator.integers(1, classes, images)) % classes, labels)


def choose(labels, decisions, count, seed, sample="errors_first"):
    return choose_cases(labels, decisions, REPORT.replace(cases=count, sample=sample), seed)


@pytest.mark.parametrize(("classes", "strata"), [(2, 4), (3, 9)])
@pytest.mark.parametrize("count", [1, 4, 12, 40])
def test_strata_are_represented_equally(classes, strata, count):
    labels, decisions = drawn(classes=classes)
    chosen = choose(labels, decisions, count, 0)
    assert len(set(chosen.tolist())) == count
    counts = Counter(zip(labels[chosen].tolist(), decisions[chosen].tolist(), strict=True))
    assert len(counts) == min(count, strata)
    assert max(counts.values()) - min(counts.values()) <= 1
    if count == classes:
        assert all(label == decision for label, decision in counts)


def test_a_small_stratum_is_taken_whole_and_the_others_fill_up():
    labels, decisions = np.repeat([0, 1], 50), np.repeat([0, 1], 50)
    decisions[3] = 1
    chosen = choose(labels, decisions, 12, 1)
    assert 3 in chosen
    assert len(chosen) == 12
    assert sorted(choose(labels, decisions, 1000, 1).tolist()) == list(range(100))


def test_the_seed_determines_cases_and_order():
    labels, decisions = drawn()
    first = choose(labels, decisions, 12, 0)
    assert np.array_equal(first, choose(labels, decisions, 12, 0))
    assert set(first) != set(choose(labels, decisions, 12, 1))
    # The number of errors in the first half varies: the order does not depend on correctness.
    errors = {
        int((labels[c] != decisions[c])[:6].sum())
        for s in range(10)
        for c in [choose(labels, decisions, 12, s)]
    }
    assert len(errors) > 1


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("count", [1, 7, 40, 400, 1000])
def test_a_fair_sample_has_the_classes_of_test_whatever_the_decisions(classes, count):
    labels, decisions = drawn(classes=classes)
    chosen = choose(labels, decisions, count, 0, "stratified")
    assert len(set(chosen.tolist())) == len(chosen) == min(count, 400)
    expected = np.bincount(labels) * len(chosen) / 400
    assert np.abs(np.bincount(labels[chosen], minlength=classes) - expected).max() < 1
    assert np.array_equal(chosen, choose(labels, 1 - labels, count, 0, "stratified"))


def test_every_radiograph_is_as_likely_in_a_fair_sample():
    labels = np.repeat([0, 1], [10, 30])
    counts = np.zeros(40)
    for seed in range(2000):
        counts[choose(labels, labels, 8, seed, "stratified")] += 1
    # Each of 2,000 samples holds a radiograph with probability 1/5: mean 400, standard deviation 18.
    assert np.abs(counts - 400).max() < 4 * 18
    ordered = [choose(labels, labels, 8, seed, "stratified") for seed in range(50)]
    assert any((np.diff(labels[chosen]) < 0).any() for chosen in ordered)  # not class by class
