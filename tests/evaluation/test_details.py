"""metrics/details.json: every number follows from the predictions of the split, by another way."""

import numpy as np
import pytest
from sklearn import metrics as sk

from cxr.core.probabilities import decide
from cxr.evaluation.details import details, flagged
from cxr.evaluation.metrics import summarise
from cxr.evaluation.platt import calibration_methods
from cxr.inference.calibration import Calibration
from cxr.inference.prevalence import case_weights
from cxr.inference.typicality import PARTS
from tests.builders import drawn_predictions

STATED, WANTED = np.array([0.5, 0.5]), np.array([0.9, 0.1])
POINTS = {"youden": 0.35, "one_half": 0.5, "target_sensitivity": 0.2}


@pytest.fixture(scope="module")
def split():
    return drawn_predictions([1.5, 1.2]).of("test")


@pytest.fixture(scope="module")
def content(split):
    whole = drawn_predictions([1.5, 1.2])
    released = Calibration(1.4, 0.35, [0.4, 0.6], [0.5, 0.5], POINTS)
    methods = calibration_methods(whole, released, STATED)
    of_split = {name: p[whole.splits == "test"] for name, p in methods.items()}
    return details(split, summarise(split, 0.35, 50), released, of_split, STATED, WANTED, 50, None), of_split


def test_decisions_are_those_of_their_name(content, split):
    for name, threshold in (("released", 0.35), ("most_probable", 0.5)):
        result = content[0]["decisions"][name]
        decided = (split.ensemble[:, 1] >= threshold).astype(int)
        assert np.array_equal(result["confusion"], sk.confusion_matrix(split.labels, decided))
        assert result["per_class"]["pneumonia"]["recall"]["value"] == sk.recall_score(split.labels, decided)
        assert result["per_class"]["normal"]["precision"]["value"] == sk.precision_score(
            split.labels, decided, pos_label=0
        )
    assert not np.array_equal(
        *(content[0]["decisions"][name]["confusion"] for name in content[0]["decisions"])
    )


def test_each_operating_point_has_its_own_accuracy_and_expected_values_at_the_declared_prevalence(
    content, split
):
    for name, threshold in POINTS.items():
        point = content[0]["operating_points"][name]
        positive = split.ensemble[:, 1] >= threshold
        sensitivity, alarms = (positive[split.labels == label].mean() for label in (1, 0))
        assert point["threshold"] == threshold
        assert point["sensitivity"]["value"] == pytest.approx(sensitivity)
        assert point["specificity"]["value"] == pytest.approx(1 - alarms)
        ppv = 0.1 * sensitivity / (0.1 * sensitivity + 0.9 * alarms)
        npv = 0.9 * (1 - alarms) / (0.9 * (1 - alarms) + 0.1 * (1 - sensitivity))
        assert point["expected_ppv"]["value"] == pytest.approx(ppv)
        assert point["expected_npv"]["value"] == pytest.approx(npv)


def test_calibration_as_it_is_and_weighted_to_the_stated_prevalence(content, split):
    result, methods = content
    frequencies = np.bincount(split.labels) / len(split.labels)
    assert result["calibration"]["class_prevalence"] == pytest.approx(frequencies)
    assert result["calibration"]["prevalence"] == pytest.approx(STATED)
    weights = case_weights(split.labels, STATED)
    for name, p in methods.items():
        entry = result["calibration"][name]
        assert entry["nll"]["value"] == pytest.approx(sk.log_loss(split.labels, p))
        assert entry["nll_at_prevalence"]["value"] == pytest.approx(
            sk.log_loss(split.labels, p, sample_weight=weights)
        )
        assert entry["brier_at_prevalence"]["value"] == pytest.approx(
            sk.brier_score_loss(split.labels, p[:, 1], sample_weight=weights)
        )


def test_shifted_probabilities_are_scored_at_the_prevalence_to_which_they_are_shifted(content, split):
    odds = split.ensemble[:, 1] / split.ensemble[:, 0] * (0.1 / 0.9)  # from one half to a tenth
    p = odds / (1 + odds)
    weights = case_weights(split.labels, WANTED)
    result = content[0]["shifted"]
    assert result["prevalence"] == pytest.approx(WANTED)
    assert result["nll"]["value"] == pytest.approx(sk.log_loss(split.labels, p, sample_weight=weights))
    expected = sk.brier_score_loss(split.labels, p, sample_weight=weights)
    assert result["brier"]["value"] == pytest.approx(expected)


def test_flagged_images_by_class_and_part(split):
    count = len(split.labels)
    p = np.full((count, 1 + len(PARTS)), 0.5)
    sick = np.flatnonzero(split.labels == 1)
    p[sick[:6], 0] = 0.049  # below the limit
    p[sick[6], 0] = 0.05  # at the limit: like the training images
    for number in range(len(PARTS)):
        p[: 3 + number, 1 + number] = 0.01
    result = flagged(p, split)
    assert result["unlike"]["value"] == pytest.approx(6 / count)
    assert result["unlike"]["low"] < 6 / count < result["unlike"]["high"]
    assert result["by_class"] == pytest.approx({"normal": 0, "pneumonia": 6 / len(sick)})
    assert list(result["by_part"].values()) == pytest.approx([(3 + n) / count for n in range(len(PARTS))])


def test_released_decision_of_the_details_is_that_of_the_headline(content, split):
    decided = decide(split.ensemble, 0.35)
    assert content[0]["ensemble"]["accuracy"] == pytest.approx(np.mean(decided == split.labels))
    assert content[0]["threshold"] == 0.35
    assert content[0]["temperature"] == 1.4
