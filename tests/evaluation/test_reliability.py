"""Calibration error, Brier score and log loss, against scikit-learn, a loop, and cases with known answers."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom, binomtest
from sklearn.metrics import brier_score_loss, log_loss

from cxr.evaluation.reliability import (
    BINS,
    calibration_error,
    calibration_scores,
    ece_by_chance,
    events,
    reliability_curve,
    scores,
)
from cxr.evaluation.statistics import blocks, wilson
from cxr.inference.prevalence import case_weights, shifted

UNIFORM = np.array([0.5, 0.5])


def images(count: int, sharpen: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities (N, 2) that are calibrated if `sharpen` is 1 and overconfident if it is
    more."""
    generator = np.random.default_rng(seed)
    logit = generator.normal(0.5, 2, count)
    p = expit(sharpen * logit)
    return (generator.random(count) < expit(logit)).astype(int), np.stack([1 - p, p], axis=1)


def one_by_one(probability: np.ndarray, observed: np.ndarray) -> float:
    """ECE of distinct probabilities: images dealt out to the bins in order, one after the other."""
    bins: list[list[int]] = [[] for _ in range(BINS)]
    for rank, image in enumerate(sorted(range(len(probability)), key=lambda i: probability[i])):
        bins[int((rank + 0.5) / len(probability) * BINS)].append(image)
    gaps = [abs(probability[b].mean() - observed[b].mean()) * len(b) for b in bins if b]
    return sum(gaps) / len(probability)


@pytest.mark.parametrize("count", [4, 15, 100, 624])
def test_error_equals_that_of_a_loop(count):
    labels, p = images(count, 1.7)
    (result,) = calibration_error(p[:, 1], labels == 1, np.ones((1, count)))
    assert result == pytest.approx(one_by_one(p[:, 1], labels == 1), abs=1e-12)


def test_error_of_a_case_done_by_hand():
    p, observed = np.repeat([0.2, 0.9], 30), np.concatenate([np.arange(30) < 12, np.arange(30) < 24])
    # half of the images: predicted 0.2, observed 0.4; the other half: predicted 0.9, observed 0.8
    assert calibration_error(p, observed, np.ones((1, 60))) == pytest.approx((0.2 + 0.1) / 2)


def test_order_of_images_does_not_matter():
    labels, p = images(200)
    tied, order = p[:, 1].round(1), np.random.default_rng(1).permutation(200)
    ones = np.ones((1, 200))
    assert calibration_error(tied, labels == 1, ones) == pytest.approx(
        calibration_error(tied[order], labels[order] == 1, ones), abs=1e-12
    )


def test_weights_equal_copies():
    labels, p = images(120, 1.5)
    weights = np.random.default_rng(2).integers(0, 4, (5, 120))
    result = scores(labels, p, weights.astype(float))
    for row, counts in enumerate(weights):
        copies = np.repeat(np.arange(120), counts)
        alone = scores(labels[copies], p[copies], np.ones((1, len(copies))))
        for name, values in result.items():
            assert values[row] == pytest.approx(alone[name][0], abs=1e-12), name


def test_brier_score_and_log_loss_equal_scikit_learns():
    labels, p = images(300, 2)
    weights = np.random.default_rng(0).random((1, 300))
    result = scores(labels, p, weights)
    assert result["brier"] == pytest.approx(brier_score_loss(labels, p[:, 1], sample_weight=weights[0]))
    assert result["nll"] == pytest.approx(log_loss(labels, p, sample_weight=weights[0]))


def test_event_of_three_classes_is_a_correct_decision():
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.5, 0.1]])
    confidence, right = events(np.array([0, 1, 1]), p)
    assert confidence.tolist() == [0.5, 0.7, 0.5]
    assert right.tolist() == [True, False, True]


def test_calibrated_probabilities_have_the_error_of_chance_alone():
    measured, expected = [], []
    for seed in range(20):
        labels, p = images(600, seed=seed)
        measured.append(scores(labels, p, np.ones((1, 600)))["ece"][0])
        expected.append(ece_by_chance(labels, p, 50)["mean"])
    assert np.mean(measured) == pytest.approx(np.mean(expected), rel=0.1)
    labels, p = images(600, 3)
    assert scores(labels, p, np.ones((1, 600)))["ece"][0] > 2 * ece_by_chance(labels, p, 50)["high"]


def test_calibrated_probabilities_have_no_error_on_images_weighted_to_their_prevalence():
    """Images with a prevalence of 72 %, and probabilities that are calibrated for 50 %."""
    generator = np.random.default_rng(0)
    labels = (generator.random(20_000) < 0.72).astype(int)
    x = generator.normal(2.0 * labels - 1, 1.5)
    p = expit(2 * x / 1.5**2)
    probabilities = np.stack([1 - p, p], axis=1)
    assert calibration_scores(labels, probabilities, 2)["ece"]["value"] > 0.08
    assert calibration_scores(labels, probabilities, 2, prevalence=UNIFORM)["ece"]["value"] < 0.02
    tenth = np.array([0.9, 0.1])
    moved = shifted(probabilities, UNIFORM, tenth)
    assert calibration_scores(labels, moved, 2, prevalence=tenth)["ece"]["value"] < 0.02


def test_weights_give_the_classes_their_prevalence():
    labels = np.repeat([0, 1, 2], [10, 60, 30])
    wanted = np.array([0.2, 0.2, 0.6])
    weights = case_weights(labels, wanted)
    np.testing.assert_allclose(np.bincount(labels, weights) / weights.sum(), wanted)
    assert weights.sum() == pytest.approx(100)


def test_interval_is_that_of_copied_images():
    labels, p = images(150, 2)
    generator = np.random.default_rng(5)
    groups = [np.flatnonzero(labels == label) for label in (0, 1)]
    rows = [np.concatenate([generator.choice(group, len(group)) for group in groups]) for _ in range(600)]
    losses = [log_loss(labels[resample], p[resample]) for resample in rows]
    low, high = np.quantile(losses, [0.025, 0.975])
    result = calibration_scores(labels, p, 600)["nll"]
    assert (result["low"], result["high"]) == pytest.approx((low, high), abs=0.12 * (high - low))


def test_diagram_of_equally_common_classes_counts_images():
    labels, p = images(3000, 2)
    result = reliability_curve(labels, p, np.bincount(labels) / 3000)
    assert result.images.tolist() == [200] * BINS
    for b, rows in enumerate(np.array_split(np.argsort(p[:, 1]), BINS)):
        assert result.probability[b] == pytest.approx(p[rows, 1].mean())
        assert result.observed[b] == pytest.approx(labels[rows].mean())
        ends = binomtest(int(labels[rows].sum()), 200).proportion_ci(method="wilson")
        assert (result.low[b], result.high[b]) == pytest.approx((ends.low, ends.high))
    assert result.error == pytest.approx(np.abs(result.probability - result.observed).mean())


def test_diagram_leaves_out_bins_without_images():
    labels = np.tile([0, 1], 50)
    p = np.tile([0.3, 0.6], 50)
    result = reliability_curve(labels, np.stack([1 - p, p], axis=1), UNIFORM)
    assert result.images.tolist() == [50, 50]
    np.testing.assert_allclose(result.probability, [0.3, 0.6])
    assert result.observed.tolist() == [0, 1]
    assert result.error == pytest.approx(0.35)


def test_chance_level_of_undecided_probabilities_is_that_of_a_fair_coin():
    """Of 100 images of probability one half, all in one bin, the ECE is |heads / 100 - 1/2|."""
    p = np.full((100, 2), 0.5)
    result = ece_by_chance(np.arange(100) % 2, p, 4000)
    heads = np.arange(101)
    error, probability = np.abs(heads / 100 - 0.5), binom.pmf(heads, 100, 0.5)
    assert result["mean"] == pytest.approx(error @ probability, rel=0.03)
    # P(error <= .09) = .943, P(error <= .10) = .965
    assert result["high"] == pytest.approx(0.10)


def test_a_bins_interval_takes_the_effective_number_of_weighted_images():
    labels, p = images(900, 1.5)
    wanted = np.array([0.8, 0.2])
    result, weights = reliability_curve(labels, p, wanted), case_weights(labels, wanted)
    assert weights.max() > 2 * weights.min()
    order = np.argsort(p[:, 1])
    middle = weights[order].cumsum() - weights[order] / 2
    bins = (BINS * middle / weights.sum()).astype(int)
    for b in range(BINS):
        rows = order[bins == b]
        of_bin = weights[rows]
        observed = np.average(labels[rows], weights=of_bin)
        assert result.observed[b] == pytest.approx(observed)
        assert result.probability[b] == pytest.approx(np.average(p[rows, 1], weights=of_bin))
        low, high = map(float, wilson(observed, of_bin.sum() ** 2 / (of_bin**2).sum()))
        assert (result.low[b], result.high[b]) == pytest.approx((low, high))
        assert result.images[b] == len(rows)


def test_the_interval_at_a_prevalence_is_of_weighted_resamples():
    labels, p = images(300, 2)
    wanted = np.array([0.9, 0.1])
    result, weights = calibration_scores(labels, p, 200, prevalence=wanted), case_weights(labels, wanted)
    for name, of_image in (
        ("brier", (p[:, 1] - labels) ** 2),
        ("nll", -np.log(p[np.arange(300), labels])),
    ):
        (counts,) = blocks(labels, 200)
        samples = (counts * weights) @ of_image / (counts * weights).sum(axis=1)
        assert result[name]["value"] == pytest.approx(np.average(of_image, weights=weights))
        ends = np.percentile(samples, [2.5, 97.5])
        assert (result[name]["low"], result[name]["high"]) == pytest.approx(tuple(ends))
