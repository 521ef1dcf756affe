"""The head of a probe against scikit-learn's own pipeline, and that folds keep a patient together."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxr.training.logistic import FOLDS, STRENGTHS, _folds, fit_head
from tests.builders import refused


def problem(count=120, classes=2, dimensions=6):
    """Features of different scales, one of them constant; labels that they tell in part; images weighted."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % classes
    features = generator.normal(size=(count, dimensions)) * 10.0 ** np.arange(dimensions) + 5
    features[:, 1] += 10 * labels
    features[:, 3] = 7
    return features.astype(np.float32), labels, 0.5 + labels


def probabilities(head, features):
    logits = features @ head.weight.T + head.bias
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def by_scikit_learn(strength, features, labels, weights):
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000, tol=1e-8))
    return pipeline.fit(features, labels, logisticregression__sample_weight=weights / weights.mean())


@pytest.mark.parametrize("classes", [2, 3])
def test_equals_scikit_learns_pipeline_with_the_chosen_penalty(classes):
    features, labels, weights = problem(classes=classes)
    head = fit_head(features, labels, weights, None, [f"class {i}" for i in range(classes)], 0)
    assert head.weight.shape == (classes, 6)
    assert (head.weight.dtype, head.bias.dtype) == (np.float32, np.float32)
    expected = by_scikit_learn(head.strength, features.astype(np.float64), labels, weights)
    np.testing.assert_allclose(
        probabilities(head, features), expected.predict_proba(features.astype(np.float64)), atol=1e-3
    )


def test_the_penalty_has_the_smallest_loss_of_patients_left_out():
    features, labels, weights = problem()
    patients = np.arange(120) // 3
    head = fit_head(features, labels, weights, patients, ["a", "b"], 4)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    splits = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=4).split(scaled, labels, patients))
    expected = []
    for strength in STRENGTHS:
        losses = []
        for fitted, held_out in splits:
            model = LogisticRegression(C=strength, max_iter=5000, tol=1e-8)
            model.fit(scaled[fitted], labels[fitted], (weights / weights.mean())[fitted])
            losses.append(
                log_loss(
                    labels[held_out], model.predict_proba(scaled[held_out]), sample_weight=weights[held_out]
                )
            )
        expected.append(np.mean(losses))
    np.testing.assert_allclose(head.losses, expected, rtol=1e-3)
    assert head.strength == STRENGTHS[int(np.argmin(expected))]


def test_no_patient_is_in_two_folds():
    labels, patients = np.arange(90) % 2, np.random.default_rng(1).integers(0, 30, 90)
    folds = _folds(labels, patients, ["a", "b"], 0)
    assert len(folds) == FOLDS
    assert not any(set(patients[fitted]) & set(patients[held_out]) for fitted, held_out in folds)


def test_features_of_the_patient_alone_are_worth_nothing_to_the_grouped_choice():
    """Ten images of each of 20 patients, with 40 features that only tell the patients apart: without groups
    a weak penalty learns whose image it is."""
    generator = np.random.default_rng(2)
    patients = np.repeat(np.arange(20), 10)
    labels = patients % 2
    features = generator.normal(size=(20, 40))[patients] + 0.01 * generator.normal(size=(200, 40))
    chosen = [fit_head(features, labels, np.ones(200), groups, ["a", "b"], 0) for groups in (patients, None)]
    assert min(chosen[1].losses) < 0.1 < 0.5 < min(chosen[0].losses)
    assert chosen[0].strength < chosen[1].strength / 10


def test_same_arguments_give_the_same_bytes():
    features, labels, weights = problem()
    one, other = (fit_head(features, labels, weights, None, ["a", "b"], 0) for _ in range(2))
    assert one.weight.tobytes() == other.weight.tobytes()
    assert one.bias.tobytes() == other.bias.tobytes()


def test_too_few_images_or_patients_are_an_error():
    features, labels, weights = problem(8)
    with refused("a has 4 training images, too few for the 5 folds"):
        fit_head(features, labels, weights, None, ["a", "b"], 0)
    features, labels, weights = problem(40)
    with refused("a has 2 patients in train, too few for the 5 folds"):
        fit_head(features, labels, weights, np.arange(40) % 4, ["a", "b"], 0)
