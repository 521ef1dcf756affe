"""Counts of a stratified bootstrap: of every class as many films as there are, in blocks of bounded size."""

import numpy as np
import pytest

from cxr import bootstrap

LABELS = np.repeat([0, 1, 2], [7, 20, 13])[np.random.default_rng(0).permutation(40)]


def test_every_class_keeps_its_number_of_films():
    (counts,) = bootstrap.blocks(LABELS, 300)
    assert counts.shape == (300, 40)
    for label, films in enumerate((7, 20, 13)):
        assert np.array_equal(counts[:, label == LABELS].sum(axis=1), np.full(300, films))
    assert len(np.unique(counts, axis=0)) == 300


def test_films_are_drawn_independently_and_alike():
    counts = np.concatenate([*bootstrap.blocks(LABELS, 20_000)])
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.03)
    for label, films in enumerate((7, 20, 13)):  # the variance of a multinomial count of 1 in n films
        np.testing.assert_allclose(counts[:, label == LABELS].var(axis=0), 1 - 1 / films, rtol=0.06)


@pytest.mark.parametrize("cells", [1, 40 * 3, 40 * 9])
def test_blocks_hold_the_same_draws_whatever_their_size(monkeypatch, cells):
    (whole,) = bootstrap.blocks(LABELS, 10)
    monkeypatch.setattr(bootstrap, "CELLS", cells)
    parts = [*bootstrap.blocks(LABELS, 10)]
    assert max(map(len, parts)) <= max(1, cells // 40)
    assert np.array_equal(np.concatenate(parts), whole)


def test_interval_is_that_of_the_percentiles():
    assert bootstrap.interval(np.arange(1001.0)) == {"low": 25.0, "high": 975.0}
