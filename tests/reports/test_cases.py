"""The choice of cases: equal numbers from every stratum of label and decision, and reproducible."""

from collections import Counter

import numpy as np
import pytest

from cxr.reports.cases import choose_cases


def drawn(images=400, classes=2, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, images)
    wrong = generator.random(images) < 0.2
    return labels, np.where(wrong, (labels + generator.integers(1, classes, images)) % classes, labels)


@pytest.mark.parametrize(("classes", "strata"), [(2, 4), (3, 9)])
@pytest.mark.parametrize("count", [1, 4, 12, 40])
def test_strata_are_represented_equally(classes, strata, count):
    labels, decisions = drawn(classes=classes)
    chosen = choose_cases(labels, decisions, count, seed=0)
    assert len(set(chosen.tolist())) == count
    counts = Counter(zip(labels[chosen].tolist(), decisions[chosen].tolist(), strict=True))
    assert len(counts) == min(count, strata)
    assert max(counts.values()) - min(counts.values()) <= 1
    if count == classes:
        assert all(label == decision for label, decision in counts)


def test_a_small_stratum_is_taken_whole_and_the_others_fill_up():
    labels, decisions = np.repeat([0, 1], 50), np.repeat([0, 1], 50)
    decisions[3] = 1
    chosen = choose_cases(labels, decisions, 12, seed=1)
    assert 3 in chosen
    assert len(chosen) == 12
    assert sorted(choose_cases(labels, decisions, 1000, seed=1).tolist()) == list(range(100))


def test_the_seed_determines_cases_and_order():
    labels, decisions = drawn()
    first = choose_cases(labels, decisions, 12, seed=0)
    assert np.array_equal(first, choose_cases(labels, decisions, 12, seed=0))
    assert set(first) != set(choose_cases(labels, decisions, 12, seed=1))
    # The number of errors in the first half varies: the order does not depend on correctness.
    errors = {
        int((labels[c] != decisions[c])[:6].sum())
        for s in range(10)
        for c in [choose_cases(labels, decisions, 12, s)]
    }
    assert len(errors) > 1
