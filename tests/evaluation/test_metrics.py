"""Variability between seeds and cases, and DeLong's interval: against the bootstrap and a published
example."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxr.evaluation import statistics
from cxr.evaluation.metrics import delong, headline, summarise
from cxr.inference.predictions import Predictions
from tests.builders import drawn_predictions
from tests.evaluation.test_delong import OVARIAN, covariance


@pytest.mark.parametrize(("classes", "name"), [(2, "auc"), (3, "auc_ovr_macro")])
def test_delong_agrees_with_the_bootstrap(classes, name):
    data = drawn_predictions([1.4, 1.2], images=600, classes=classes).of("test")
    result = summarise(data, 0.5 if classes == 2 else None, 4000).variability()[name]
    assert result["delong"]["between_case_se"] == pytest.approx(result["between_case_se"], rel=0.06)
    for end in ("low", "high"):
        assert result["delong"][end] == pytest.approx(result[end], abs=0.35 * result["between_case_se"])


def test_delong_of_two_classes_is_its_covariance():
    data = drawn_predictions([1.4, 1.2]).of("test")
    result = delong(data)
    assert result["between_case_se"] ** 2 == pytest.approx(
        covariance(data.labels == 1, data.ensemble[:, 1]).item()
    )
    assert (result["low"] + result["high"]) / 2 == pytest.approx(
        roc_auc_score(data.labels, data.ensemble[:, 1])
    )


def test_delong_published_example():
    """Albumin of `tests/evaluation/test_delong.py`: SAS reports 0.7366, standard error 0.0927, 0.5549 to
    0.9182."""
    albumin, _, _, outcome = np.array(OVARIAN.split(), float).reshape(-1, 4).T
    p = np.stack([1 - albumin / 10, albumin / 10], axis=1)
    rows = np.arange(len(p))
    data = Predictions(["normal", "sick"], rows, np.full(len(p), "test"), outcome.astype(int), p, p[None])
    expected = {"between_case_se": 0.0927, "low": 0.5549, "high": 0.9182}
    assert delong(data) == pytest.approx(expected, abs=1e-4)


def test_variability_between_seeds_and_between_cases_is_separate():
    data = drawn_predictions([2.0, 1.0, 1.5]).of("test")
    summarised = summarise(data, 0.5, 200)
    result, summary = summarised.variability(), summarised.headline()
    members = [headline(data.labels, p, data.classes, 0.5) for p in data.members]
    assert result.keys() == summary.keys()
    for name, value in result.items():
        assert value["between_seed_sd"] == pytest.approx(summary[name]["std"])
        assert value["between_seed_sd"] == pytest.approx(np.std([member[name] for member in members], ddof=1))
        assert (value["low"], value["high"]) == (summary[name]["low"], summary[name]["high"])
    right = data.ensemble.argmax(axis=1) == data.labels
    groups = [right[data.labels == label] for label in (0, 1)]
    variance = sum(len(group) * group.var() for group in groups) / len(right) ** 2
    assert result["accuracy"]["between_case_se"] == pytest.approx(variance**0.5, rel=0.15)


def test_one_member_and_one_image_have_no_variability():
    data = drawn_predictions([1.4]).of("test")
    assert "between_seed_sd" not in summarise(data, 0.5, 100).variability()["auc"]
    keep = (data.labels == 0) | (np.cumsum(data.labels == 1) == 1) & (data.labels == 1)
    parts = [values[keep] for values in (data.rows, data.splits, data.labels, data.ensemble)]
    single = Predictions(data.classes, *parts, data.members[:, keep])
    assert "delong" not in summarise(single, 0.5, 100).variability()["auc"]


def test_an_image_at_the_threshold_is_positive():
    p = np.array([0.2, 0.4, 0.4, 0.6])
    result = headline(np.array([0, 0, 1, 1]), np.stack([1 - p, p], axis=1), ["normal", "sick"], 0.4)
    assert (result["sensitivity"], result["specificity"], result["accuracy"]) == (1, 0.5, 0.75)
    assert result["accuracy_at_one_half"] == 0.75


def test_each_resample_has_its_own_threshold_however_they_are_divided_into_blocks(monkeypatch):
    data, thresholds = drawn_predictions([1.4]).of("test"), np.linspace(0.1, 0.9, 50)
    whole = summarise(data, 0.5, 50, thresholds).samples
    monkeypatch.setattr(statistics, "CELLS", 7 * len(data.labels))
    for name, samples in summarise(data, 0.5, 50, thresholds).samples.items():
        np.testing.assert_allclose(samples, whole[name], atol=1e-12)
    assert len(np.unique(whole["sensitivity"])) > 20
