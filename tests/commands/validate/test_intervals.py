"""Intervals against published values, against other formulas, and against resampling."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxr.commands.validate.intervals import (
    Bounded,
    auc_interval,
    combined,
    newcombe,
    proportion,
)
from cxr.evaluation.metrics import delong
from tests.builders import drawn_predictions


def scored(count: int, signal: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels (half of each), and probabilities (count, 2)."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    p = 1 / (1 + np.exp(-generator.normal(signal * (2 * labels - 1), 1)))
    return labels, np.stack([1 - p, p], axis=1)


def test_a_difference_of_two_proportions_is_newcombes_example():
    """Newcombe, 1998, table II, example (a): 56/70 against 48/80, method 10."""
    a, b = (proportion(np.arange(n) < hits, np.ones(n, bool), None) for hits, n in ((56, 70), (48, 80)))
    assert combined([(1, a), (-1, b)]) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_combined_parts_with_equal_distances_add_like_standard_errors():
    part = Bounded(0.5, 0.4, 0.6, "")
    value, low, high = combined([(0.5, part), (0.5, part)])
    half = 0.1 / np.sqrt(2)
    assert (value, low, high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))


@pytest.mark.parametrize("area", [0.0, 0.3, 0.9, 1.0])
def test_newcombes_ends_are_as_improbable_as_they_should_be(area):
    """Each end solves (area - end)^2 = z^2 V(end), V of Hanley and McNeil with equal sizes."""
    negatives, positives = 20, 30
    low, high = newcombe(area, negatives, positives)
    assert 0 <= low <= area <= high <= 1
    assert high - low > 0.08
    for end in {low, high} - {0.0, 1.0}:
        q1, q2, others = end / (2 - end), 2 * end**2 / (1 + end), (negatives + positives) / 2 - 1
        variance = end * (1 - end) + others * (q1 - end**2) + others * (q2 - end**2)
        assert (area - end) ** 2 == pytest.approx(1.959964**2 * variance / (negatives * positives), rel=1e-4)


def test_few_perfectly_ranked_radiographs_prove_little():
    labels = np.array([0] * 6 + [1] * 6)
    probabilities = np.stack([1 - labels, labels], axis=1) * 0.8 + 0.1
    result = auc_interval(labels, probabilities, None)
    assert (result.value, result.high) == (1, 1)
    assert result.low < 0.8


@pytest.mark.parametrize("classes", [2, 3])
def test_many_radiographs_have_at_least_delongs_interval(classes):
    predictions = drawn_predictions([1.5], images=600, classes=classes)
    result = auc_interval(predictions.labels, predictions.ensemble, None)
    expected = delong(predictions)
    assert result.low <= expected["low"]
    assert result.high >= expected["high"]
    assert result.high - result.low < (1.3 if classes == 2 else 1.5) * (expected["high"] - expected["low"])
    areas = roc_auc_score(
        predictions.labels,
        predictions.ensemble if classes > 2 else predictions.ensemble[:, 1],
        multi_class="ovr",
    )
    assert result.value == pytest.approx(areas)


def test_copies_of_images_do_not_narrow_the_interval_of_their_patients():
    labels, probabilities = scored(100, 1)
    once, patients = auc_interval(labels, probabilities, None), np.repeat(np.arange(100), 3)
    copied = np.repeat(labels, 3), np.repeat(probabilities, 3, axis=0)
    thrice = auc_interval(*copied, patients)
    assert thrice[:3] == pytest.approx(once[:3], abs=0.003)
    naive = auc_interval(*copied, None)
    assert naive.high - naive.low < 0.65 * (once.high - once.low)
    everything = np.ones(100, bool)
    assert proportion(copied[0] == 1, np.repeat(everything, 3), patients) == pytest.approx(
        proportion(labels == 1, everything, None)
    )
