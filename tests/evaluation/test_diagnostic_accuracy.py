"""Sensitivity, specificity and predictive values of decisions, against scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk

from cxr.evaluation.diagnostic_accuracy import diagnostic_accuracy

LABELS = np.repeat([0, 1], [234, 390])


def decisions(alarms: int, hits: int) -> np.ndarray:
    return np.concatenate([np.arange(234) < alarms, np.arange(390) < hits]).astype(int)


@pytest.mark.parametrize(("alarms", "hits"), [(62, 388), (1, 200), (0, 390)])
def test_proportions_equal_scikit_learns_and_scipys(alarms, hits):
    chosen = decisions(alarms, hits)
    result = diagnostic_accuracy(LABELS, chosen, 0.3)
    assert np.array_equal(result["confusion"], sk.confusion_matrix(LABELS, chosen))
    expected = {
        "sensitivity": (sk.recall_score(LABELS, chosen), hits, 390),
        "specificity": (sk.recall_score(LABELS, chosen, pos_label=0), 234 - alarms, 234),
        "ppv": (sk.precision_score(LABELS, chosen), hits, hits + alarms),
        "npv": (sk.precision_score(LABELS, chosen, pos_label=0), 234 - alarms, 624 - hits - alarms),
    }
    for name, (value, count, total) in expected.items():
        ends = binomtest(count, total).proportion_ci(method="wilson")
        assert result[name] == pytest.approx({"value": value, "low": ends.low, "high": ends.high}), name


@pytest.mark.parametrize("prevalence", [0.1, 0.74])
def test_expected_values_are_those_of_images_drawn_at_the_prevalence(prevalence):
    chosen, generator = decisions(62, 370), np.random.default_rng(0)
    healthy = round(1_000_000 * (1 - prevalence))
    rows = np.concatenate(
        [generator.integers(0, 234, healthy), 234 + generator.integers(0, 390, 1_000_000 - healthy)]
    )
    result = diagnostic_accuracy(LABELS, chosen, prevalence)
    drawn = LABELS[rows], chosen[rows]
    assert result["expected_ppv"]["value"] == pytest.approx(sk.precision_score(*drawn), abs=0.003)
    assert result["expected_npv"]["value"] == pytest.approx(
        sk.precision_score(*drawn, pos_label=0), abs=0.003
    )


def test_at_the_prevalence_in_the_images_expected_values_are_the_observed_ones():
    result = diagnostic_accuracy(LABELS, decisions(62, 370), 390 / 624)
    assert result["expected_ppv"]["value"] == pytest.approx(result["ppv"]["value"])
    assert result["expected_npv"]["value"] == pytest.approx(result["npv"]["value"])


def test_decision_that_no_image_has_has_no_predictive_value():
    result = diagnostic_accuracy(LABELS, np.ones(624, int), 0.3)
    assert result.keys() == {"confusion", "sensitivity", "specificity", "ppv", "expected_ppv"}
    assert result["expected_ppv"]["value"] == pytest.approx(0.3)
