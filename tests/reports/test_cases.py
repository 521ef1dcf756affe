"""The radiographs to write about: as many of each kind as of another, and always the same ones."""

from collections import Counter

import numpy as np
import pytest

from cxr.reports.cases import choose_cases


def drawn(images=400, classes=2, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, images)
    wrong = generator.random(images) < 0.2
    return labels, np.where(wrong, (labels + generator.integers(1, classes, images)) % classes, labels)


@pytest.mark.parametrize(("classes", "kinds"), [(2, 4), (3, 9)])
@pytest.mark.parametrize("count", [1, 4, 12, 40])
def test_kinds_are_shared_out_evenly(classes, kinds, count):
    labels, decisions = drawn(classes=classes)
    chosen = choose_cases(labels, decisions, count, seed=0)
    assert len(set(chosen.tolist())) == count
    found = Counter(zip(labels[chosen].tolist(), decisions[chosen].tolist(), strict=True))
    assert len(found) == min(count, kinds)
    assert max(found.values()) - min(found.values()) <= 1
    if count == classes:
        assert all(truth == taken for truth, taken in found)


def test_a_rare_kind_is_taken_whole_and_the_others_fill_up():
    labels, decisions = np.repeat([0, 1], 50), np.repeat([0, 1], 50)
    decisions[3] = 1
    chosen = choose_cases(labels, decisions, 12, seed=1)
    assert 3 in chosen
    assert len(chosen) == 12
    assert sorted(choose_cases(labels, decisions, 1000, seed=1).tolist()) == list(range(100))


def test_the_seed_says_which_and_in_which_order():
    labels, decisions = drawn()
    first = choose_cases(labels, decisions, 12, seed=0)
    assert np.array_equal(first, choose_cases(labels, decisions, 12, seed=0))
    assert set(first) != set(choose_cases(labels, decisions, 12, seed=1))
    # The first half holds now more, now fewer errors: the order tells nothing.
    errors = {
        int((labels[c] != decisions[c])[:6].sum())
        for s in range(10)
        for c in [choose_cases(labels, decisions, 12, s)]
    }
    assert len(errors) > 1
