"""AUCs and their covariance against scikit-learn, the definition, a published example and a bootstrap."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from cxr.evaluation.delong import case_variance, contributions, placements
from cxr.evaluation.metrics import headline
from cxr.evaluation.statistics import blocks
from tests.builders import drawn_predictions

# 43 patients with ovarian cancer: albumin, total protein, K-G score and whether surgery helped (0) or not.
# DeLong, DeLong & Clarke-Pearson (1988), as in the SAS/STAT User's Guide, chapter LOGISTIC, example
# "Comparing Receiver Operating Characteristic Curves"; its values are those of `test_published_example`.
OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
3.8 5.7 5 1   3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
2.3 4.4 6 1   4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
3.1 6.6 6 1   4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
3.7 6.1 5 1   3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
3.3 5.7 6 1   3.7 6.9 5 1  3.6 6.6 5 1
"""


def covariance(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(M, M) float64, the estimated covariance of M AUCs. positive: (N,) bool. scores: (M, N) float.

    Raises ValueError if there are fewer than two positive or two negative cases.
    """
    count = positive.sum()
    if min(count, len(positive) - count) < 2:
        raise ValueError("the variance of an AUC needs at least two positive and two negative cases")
    result = placements(positive, np.atleast_2d(scores))
    parts = [np.atleast_2d(np.cov(values)) / values.shape[1] for values in (result.positive, result.negative)]
    return parts[0] + parts[1]


def sample(images: int = 120, raters: int = 3, decimals: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Correlated scores; few decimals make many ties."""
    generator = np.random.default_rng(3)
    positive = generator.random(images) < 0.6
    hard = generator.normal(size=images)
    scores = positive * np.linspace(0.8, 1.6, raters)[:, None] + hard
    return positive, (scores + 0.5 * generator.normal(size=scores.shape)).round(decimals)


def compared(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(M, P, Q): 1 where a positive scores more than a negative, 0.5 where as much. The definition of AUC."""
    above = scores[:, positive, None] - scores[:, None, ~positive]
    return (above > 0) + 0.5 * (above == 0)


@pytest.mark.parametrize("decimals", [9, 0])
def test_auc_equals_scikit_learn(decimals):
    positive, scores = sample(decimals=decimals)
    expected = [roc_auc_score(positive, row) for row in scores]
    np.testing.assert_allclose(placements(positive, scores).auc, expected, atol=1e-12)
    assert placements(positive, scores[0]).auc == pytest.approx(expected[0])


@pytest.mark.parametrize("decimals", [9, 0])
def test_placements_and_covariance_equal_their_definition(decimals):
    positive, scores = sample(decimals=decimals)
    table = compared(positive, scores)
    result = placements(positive, scores)
    np.testing.assert_allclose(result.positive, table.mean(axis=2), atol=1e-12)
    np.testing.assert_allclose(result.negative, table.mean(axis=1), atol=1e-12)
    expected = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for axis in (2, 1):
                a, b = table[i].mean(axis=axis - 1), table[j].mean(axis=axis - 1)
                expected[i, j] += ((a - a.mean()) * (b - b.mean())).sum() / (len(a) - 1) / len(a)
    np.testing.assert_allclose(covariance(positive, scores), expected, atol=1e-15)


def test_published_example():
    albumin, protein, score, outcome = np.array(OVARIAN.split(), float).reshape(-1, 4).T
    scores = np.stack([albumin, 10 - score, protein])
    assert placements(outcome == 1, scores).auc == pytest.approx([0.7366, 0.7258, 0.6478], abs=5e-5)
    result = covariance(outcome == 1, scores)
    assert np.sqrt(np.diag(result)) == pytest.approx([0.0927, 0.1028, 0.1000], abs=5e-5)
    contrasts = np.array([[1, -1, 0], [0, -1, 1]])
    differences, covariances = (
        contrasts @ placements(outcome == 1, scores).auc,
        contrasts @ result @ contrasts.T,
    )
    assert differences == pytest.approx([0.0108, -0.0780], abs=5e-5)
    assert np.sqrt(np.diag(covariances)) == pytest.approx([0.0953, 0.1046], abs=5e-5)
    assert differences @ np.linalg.solve(covariances, differences) == pytest.approx(2.5340, abs=5e-5)


@pytest.mark.parametrize("decimals", [9, 0])
def test_covariance_is_that_of_a_stratified_bootstrap(decimals):
    positive, scores = sample(decimals=decimals)
    table, generator = compared(positive, scores), np.random.default_rng(0)
    p, q = table.shape[1:]
    drawn_p = generator.multinomial(p, np.full(p, 1 / p), 8000) / p
    drawn_q = generator.multinomial(q, np.full(q, 1 / q), 8000) / q
    aucs = np.stack([((drawn_p @ one) * drawn_q).sum(axis=1) for one in table])
    np.testing.assert_allclose(covariance(positive, scores), np.cov(aucs), rtol=0.08)


def test_only_the_order_of_scores_matters():
    positive, scores = sample()
    np.testing.assert_allclose(covariance(positive, np.exp(scores)), covariance(positive, scores), atol=1e-15)
    reversed_order = placements(positive, -scores)
    np.testing.assert_allclose(reversed_order.auc, 1 - placements(positive, scores).auc)
    np.testing.assert_allclose(covariance(positive, -scores), covariance(positive, scores), atol=1e-15)


def test_constant_scores_are_chance_without_variance():
    positive, _ = sample()
    assert placements(positive, np.zeros(len(positive))).auc == 0.5
    assert covariance(positive, np.zeros((2, len(positive)))) == pytest.approx(np.zeros((2, 2)))


@pytest.mark.parametrize("positive", [[True, True], [False, False]])
def test_one_class_alone_raises(positive):
    with pytest.raises(ValueError, match="at least one positive and one negative"):
        placements(np.array(positive), np.zeros(2))


def test_variance_from_a_single_case_raises():
    with pytest.raises(ValueError, match="at least two positive and two negative"):
        covariance(np.array([True, False, False]), np.zeros((1, 3)))


@pytest.mark.parametrize("classes", [2, 3])
def test_values_are_those_of_the_evaluation(classes):
    data = drawn_predictions([1.0, 2.0, 3.0], classes=classes)
    result = contributions(data.labels, data.members, None)
    for i, p in enumerate(data.members):
        expected = headline(data.labels, p, data.classes, 0.5 if classes == 2 else None)
        expected["nll"] = log_loss(data.labels, p)
        assert set(result) <= set(expected)
        for name, metric in result.items():
            assert metric.values[i] == pytest.approx(expected[name], abs=1e-9), name
    assert next(iter(result)) == ("auc" if classes == 2 else "auc_ovr_macro")
    assert ("sensitivity" in result) == (classes == 2)


@pytest.mark.parametrize("classes", [2, 3])
def test_variance_is_that_of_a_paired_stratified_bootstrap(classes):
    """Of single models, and of the difference between means over two and over three models."""
    a = drawn_predictions([1.0, 1.5], images=150, classes=classes)
    b = drawn_predictions([1.4, 1.2, 1.3], seed=1, images=150, classes=classes)
    both = np.concatenate([a.members, b.members])
    weights = np.array([-1 / 2, -1 / 2, 1 / 3, 1 / 3, 1 / 3])
    result = contributions(a.labels, both, None)
    generator = np.random.default_rng(0)
    groups = [np.flatnonzero(a.labels == label) for label in range(classes)]
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in result}
    for _ in range(800):
        rows = np.concatenate([generator.choice(group, len(group)) for group in groups])
        for name, metric in contributions(a.labels[rows], both[:, rows], None).items():
            drawn[name].append(metric.values)
    for name, metric in result.items():
        samples = np.array(drawn[name])
        single = case_variance(metric.images, a.labels)
        np.testing.assert_allclose(np.sqrt(single), samples.std(axis=0), rtol=0.1, err_msg=name)
        of_difference = case_variance(weights @ metric.images, a.labels)
        np.testing.assert_allclose(np.sqrt(of_difference), (samples @ weights).std(), rtol=0.1, err_msg=name)


def test_equally_good_members_have_equal_values():
    """Although they misclassify different images, and sums of floats depend on the order."""
    labels = np.repeat([0, 1], [3, 7])
    p = np.full((2, 10, 2), 0.5)
    p[..., 1] += 0.4 * np.where(labels == 1, 1, -1)
    p[0, 4], p[1, 9] = [0.8, 0.2], [0.8, 0.2]
    p[..., 0] = 1 - p[..., 1]
    for metric in contributions(labels, p, None).values():
        assert metric.values[0] == metric.values[1]


def test_patients_of_one_image_change_nothing():
    data = drawn_predictions([1.0, 1.5])
    for metric in contributions(data.labels, data.members, None).values():
        np.testing.assert_allclose(
            case_variance(metric.images, data.labels, np.arange(len(data.labels))),
            case_variance(metric.images, data.labels),
        )


def test_variance_over_patients_is_that_of_a_bootstrap_of_patients():
    """With two images a patient, and some patients with images of both classes."""
    generator = np.random.default_rng(0)
    patients = np.arange(400) // 2
    labels = np.where(patients < 180, patients % 2, np.arange(400) % 2)
    evidence = 1.2 * labels + generator.normal(size=200)[patients] + 0.3 * generator.normal(size=400)
    probability = 1 / (1 + np.exp(-evidence))
    p = np.stack([1 - probability, probability], axis=1)[None]
    weights = np.concatenate([*blocks(labels, 3000, patients=patients)])
    found = contributions(labels, p, 0.5)
    for name in ("accuracy", "sensitivity", "nll"):
        terms = found[name].images[0]
        expected = (weights @ terms).std()
        assert np.sqrt(case_variance(terms, labels, patients)) == pytest.approx(expected, rel=0.1), name
    samples = [roc_auc_score(labels, probability, sample_weight=row) for row in weights[:600]]
    of_auc = case_variance(found["auc"].images, labels, patients)[0]
    assert np.sqrt(of_auc) == pytest.approx(np.std(samples), rel=0.1)
    assert of_auc > 1.5 * case_variance(found["auc"].images, labels)[0]
