"""Metrics from contributions equal the published ones, and vary over films as a bootstrap says."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from cxr.contributions import case_variance, measure
from cxr.metrics import headline
from tests.builders import drawn_predictions


@pytest.mark.parametrize("classes", [2, 3])
def test_values_are_those_of_the_evaluation(classes):
    data = drawn_predictions([1.0, 2.0, 3.0], classes=classes)
    found = measure(data.labels, data.members)
    for i, p in enumerate(data.members):
        expected = headline(data.labels, p, data.classes, 0.5 if classes == 2 else None)
        expected["nll"] = log_loss(data.labels, p)
        assert set(found) <= set(expected)
        for name, metric in found.items():
            assert metric.values[i] == pytest.approx(expected[name], abs=1e-9), name
    assert next(iter(found)) == ("auc" if classes == 2 else "auc_ovr_macro")
    assert ("sensitivity" in found) == (classes == 2)


@pytest.mark.parametrize("classes", [2, 3])
def test_variance_is_that_of_a_paired_stratified_bootstrap(classes):
    """Of single models, and of the difference between means over two and over three models."""
    a = drawn_predictions([1.0, 1.5], films=150, classes=classes)
    b = drawn_predictions([1.4, 1.2, 1.3], seed=1, films=150, classes=classes)
    both = np.concatenate([a.members, b.members])
    weights = np.array([-1 / 2, -1 / 2, 1 / 3, 1 / 3, 1 / 3])
    found = measure(a.labels, both)
    generator = np.random.default_rng(0)
    groups = [np.flatnonzero(a.labels == label) for label in range(classes)]
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in found}
    for _ in range(800):
        rows = np.concatenate([generator.choice(group, len(group)) for group in groups])
        for name, metric in measure(a.labels[rows], both[:, rows]).items():
            drawn[name].append(metric.values)
    for name, metric in found.items():
        samples = np.array(drawn[name])
        single = case_variance(metric.films, a.labels)
        np.testing.assert_allclose(np.sqrt(single), samples.std(axis=0), rtol=0.1, err_msg=name)
        of_difference = case_variance(weights @ metric.films, a.labels)
        np.testing.assert_allclose(np.sqrt(of_difference), (samples @ weights).std(), rtol=0.1, err_msg=name)


def test_equally_good_members_have_equal_values():
    """Although they err on different films, and floats add up differently."""
    labels = np.repeat([0, 1], [3, 7])
    p = np.full((2, 10, 2), 0.5)
    p[..., 1] += 0.4 * np.where(labels == 1, 1, -1)
    p[0, 4], p[1, 9] = [0.8, 0.2], [0.8, 0.2]
    p[..., 0] = 1 - p[..., 1]
    for metric in measure(labels, p).values():
        assert metric.values[0] == metric.values[1]
