"""Counts of a stratified bootstrap: of every class as many films as there are, in blocks of bounded size."""

import numpy as np
import pytest
from scipy.special import expit

from cxr import bootstrap
from cxr.reliability import calibration_error

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
    assert bootstrap.interval("auc", 400.0, np.arange(1001.0)) == {"low": 25.0, "high": 975.0}


@pytest.mark.parametrize("sharpen", [1.0, 2.0])
def test_interval_of_a_calibration_error_holds_what_other_films_would_show(sharpen):
    """The percentiles alone miss it, even the value on the films themselves, where probabilities are true."""
    generator, ones = np.random.default_rng(0), np.ones((1, 100))

    def films() -> tuple[np.ndarray, np.ndarray]:
        logit = generator.normal(0.5, 3, 100)
        return expit(sharpen * logit), generator.random(100) < expit(logit)

    expected = np.mean([calibration_error(*films(), ones) for _ in range(500)])
    held = []
    for _ in range(100):
        p, found = films()
        value = calibration_error(p, found, ones).item()
        samples = [calibration_error(p, found, counts) for counts in bootstrap.blocks(found.astype(int), 200)]
        ends = bootstrap.interval("ece", value, np.concatenate(samples))
        assert 0 <= ends["low"] <= value <= ends["high"]
        held.append(ends["low"] <= expected <= ends["high"])
    assert np.mean(held) > 0.9
