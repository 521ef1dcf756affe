"""The clinical reading agrees with formulas by hand; levels are chosen on val and achieved on test."""

import numpy as np
import pytest

from cxr.evaluation.clinical import (
    CURVE,
    LEVELS,
    clinical_reading,
    fixed_levels,
    likelihood_ratio,
    net_benefit,
)
from cxr.inference.predictions import Predictions
from tests.builders import drawn_predictions

UNIFORM = np.array([0.5, 0.5])
BOTH = drawn_predictions([2.0, 2.1, 1.9], images=900)
VAL, TEST = BOTH.of("val"), BOTH.of("test")


def test_likelihood_ratio_as_by_hand() -> None:
    """90 of 100 and 20 of 100: 4.5, with exp(1.96 sqrt(1/90 - 1/100 + 1/20 - 1/100)) as the factor."""
    found = likelihood_ratio(90, 100, 20, 100)
    factor = np.exp(1.959964 * np.sqrt(1 / 90 - 1 / 100 + 1 / 20 - 1 / 100))
    assert found == pytest.approx({"value": 4.5, "low": 4.5 / factor, "high": 4.5 * factor}, rel=1e-5)


@pytest.mark.parametrize(("hits", "alarms"), [(0, 5), (5, 0), (0, 0)])
def test_likelihood_ratio_of_an_empty_cell_is_finite(hits, alarms) -> None:
    found = likelihood_ratio(hits, 20, alarms, 30)
    assert 0 < found["low"] < found["value"] < found["high"] < np.inf


def test_predictive_values_follow_from_sensitivity_and_specificity() -> None:
    reading = clinical_reading(VAL, TEST, 0.5, UNIFORM)
    counts = reading["confusion"]
    sensitivity = counts["tp"] / (counts["tp"] + counts["fn"])
    specificity = counts["tn"] / (counts["tn"] + counts["fp"])
    assert sum(counts.values()) == len(TEST.labels)
    for row in reading["predictive_values"]:
        share = row["prevalence"]
        hit, alarm = share * sensitivity, (1 - share) * (1 - specificity)
        assert row["ppv"]["value"] == pytest.approx(hit / (hit + alarm))
        assert row["ppv"]["low"] < row["ppv"]["value"] < row["ppv"]["high"]
        healthy, missed = (1 - share) * specificity, share * (1 - sensitivity)
        assert row["npv"]["value"] == pytest.approx(healthy / (healthy + missed))
    ratios = reading["likelihood_ratios"]
    assert ratios["positive"]["value"] == pytest.approx(sensitivity / (1 - specificity))
    assert ratios["negative"]["value"] == pytest.approx((1 - sensitivity) / specificity)


def test_levels_are_reached_on_val_where_they_are_chosen() -> None:
    rows = fixed_levels(VAL, TEST)
    assert [(row["fixed"], row["level"]) for row in rows] == [
        (measure, level) for measure in ("sensitivity", "specificity") for level in LEVELS
    ]
    for row in rows:
        assert row["val"][row["fixed"]]["value"] >= row["level"]
        positive = TEST.ensemble[:, 1] >= row["threshold"]
        assert row["test"]["sensitivity"]["value"] == pytest.approx(positive[TEST.labels == 1].mean())
        assert row["test"]["specificity"]["value"] == pytest.approx((~positive[TEST.labels == 0]).mean())


def test_net_benefit_of_a_perfect_classifier_is_the_prevalence() -> None:
    p = TEST.labels.astype(float)
    perfect = Predictions(
        *(TEST.classes, TEST.rows, TEST.splits, TEST.labels), np.stack([1 - p, p], axis=1), TEST.members
    )
    curve = net_benefit(perfect, UNIFORM, 0.1)
    assert curve["classifier"] == pytest.approx([0.1] * len(CURVE))
    assert curve["all"][9] == pytest.approx(0, abs=1e-12)  # treating all at a threshold of the prevalence


def test_net_benefit_counts_true_and_weighted_false_positives() -> None:
    """At the prevalence of the split and of the probabilities: Vickers and Elkin's formula in counts."""
    prevalence = float(TEST.labels.mean())
    curve = net_benefit(TEST, np.array([1 - prevalence, prevalence]), prevalence)
    positive = TEST.ensemble[:, 1] >= CURVE[29]
    true, false = (positive & (TEST.labels == 1)).sum(), (positive & (TEST.labels == 0)).sum()
    expected = (true - false * 0.3 / 0.7) / len(TEST.labels)
    assert curve["classifier"][29] == pytest.approx(expected)


def test_net_benefit_at_another_prevalence_shifts_probabilities_by_its_odds() -> None:
    curve = net_benefit(TEST, UNIFORM, 0.1)
    odds = TEST.ensemble[:, 1] / TEST.ensemble[:, 0] / 9
    positive = odds >= CURVE[29] / (1 - CURVE[29])
    hits, alarms = positive[TEST.labels == 1].mean(), positive[TEST.labels == 0].mean()
    assert curve["classifier"][29] == pytest.approx(0.1 * hits - 0.9 * alarms * 0.3 / 0.7)
