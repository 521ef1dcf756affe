"""Intervals and their coverage; counts of a stratified bootstrap, in blocks of bounded size."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from cxr.evaluation import statistics
from cxr.evaluation.reliability import calibration_error
from cxr.evaluation.statistics import Z, holm, predictive_value, wilson

LABELS = np.repeat([0, 1, 2], [7, 20, 13])[np.random.default_rng(0).permutation(40)]


def test_every_class_keeps_its_number_of_images():
    (counts,) = statistics.blocks(LABELS, 300)
    assert counts.shape == (300, 40)
    for label, images in enumerate((7, 20, 13)):
        assert np.array_equal(counts[:, label == LABELS].sum(axis=1), np.full(300, images))
    assert len(np.unique(counts, axis=0)) == 300


def test_images_are_drawn_independently_with_equal_probability():
    counts = np.concatenate([*statistics.blocks(LABELS, 20_000)])
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.03)
    for label, images in enumerate((7, 20, 13)):  # the variance of a multinomial count of 1 in n images
        np.testing.assert_allclose(counts[:, label == LABELS].var(axis=0), 1 - 1 / images, rtol=0.06)


def test_patients_are_drawn_with_all_their_images():
    labels = np.repeat([0, 1], 60)
    patients = np.arange(120) // 3
    patients[-3:] = patients[0]  # a patient with images of both classes
    (counts,) = statistics.blocks(labels, 400, patients=patients)
    for patient in np.unique(patients):
        of_patient = counts[:, patients == patient]
        assert (of_patient == of_patient[:, :1]).all()
    assert (counts[:, labels == 0].sum(axis=1) == 60).all()
    assert (counts[:, labels == 1].sum(axis=1) == 60).all()
    np.testing.assert_allclose(counts[:, 3:117].mean(axis=0), 1, atol=0.25)


def test_images_that_are_patients_of_their_own_are_drawn_as_images():
    (images,) = statistics.blocks(LABELS, 50)
    (patients,) = statistics.blocks(LABELS, 50, patients=np.arange(40))
    assert np.array_equal(images, patients)


@pytest.mark.parametrize("cells", [1, 40 * 3, 40 * 9])
def test_blocks_hold_the_same_draws_whatever_their_size(monkeypatch, cells):
    (whole,) = statistics.blocks(LABELS, 10)
    monkeypatch.setattr(statistics, "CELLS", cells)
    parts = [*statistics.blocks(LABELS, 10)]
    assert max(map(len, parts)) <= max(1, cells // 40)
    assert np.array_equal(np.concatenate(parts), whole)


def test_interval_is_that_of_the_percentiles():
    assert statistics.interval("auc", 400.0, np.arange(1001.0)) == {"low": 25.0, "high": 975.0}


@pytest.mark.parametrize("sharpen", [1.0, 2.0])
def test_interval_of_a_calibration_error_covers_its_expectation_on_other_images(sharpen):
    """The percentiles alone do not, not even the value on the images themselves, where probabilities are
    calibrated."""
    generator, ones = np.random.default_rng(0), np.ones((1, 100))

    def images() -> tuple[np.ndarray, np.ndarray]:
        logit = generator.normal(0.5, 3, 100)
        return expit(sharpen * logit), generator.random(100) < expit(logit)

    expected = np.mean([calibration_error(*images(), ones) for _ in range(500)])
    covered = []
    for _ in range(100):
        p, event = images()
        value = calibration_error(p, event, ones).item()
        samples = [
            calibration_error(p, event, counts) for counts in statistics.blocks(event.astype(int), 200)
        ]
        ends = statistics.interval("ece", value, np.concatenate(samples))
        assert 0 <= ends["low"] <= value <= ends["high"]
        covered.append(ends["low"] <= expected <= ends["high"])
    assert np.mean(covered) > 0.9


@pytest.mark.parametrize(("count", "total"), [(0, 10), (10, 10), (3, 10), (131, 135), (388, 390), (1, 1)])
def test_wilson_equals_scipys(count, total):
    expected = binomtest(count, total).proportion_ci(method="wilson")
    assert wilson(count / total, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_published_example():
    """81 of 263: Newcombe, 1998,
    https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I, method 3."""
    low, high = wilson(81 / 263, 263)
    assert (low, high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_ends_are_the_limits_of_a_score_test():
    proportion, count = np.array([0.2, 0.97]), np.array([33.5, 412.0])  # effective numbers need not be whole
    for end in wilson(proportion, count):
        np.testing.assert_allclose(np.abs(proportion - end) / np.sqrt(end * (1 - end) / count), Z)


@pytest.mark.parametrize("prevalence", [0.05, 0.5, 0.8])
def test_predictive_value_is_the_proportion_in_a_population(prevalence):
    """By simulation: 90 diseased, of whom 81 test positive, and 50 healthy, of whom 10 do, drawn with
    replacement so that `prevalence` of them are diseased."""
    generator = np.random.default_rng(0)
    diseased = generator.random(2_000_000) < prevalence
    hits, alarms = (
        generator.integers(0, 90, len(diseased)) < 81,
        generator.integers(0, 50, len(diseased)) < 10,
    )
    positive = np.where(diseased, hits, alarms)
    ppv, npv = predictive_value(81, 90, 10, 50, prevalence), predictive_value(40, 50, 9, 90, 1 - prevalence)
    assert ppv is not None
    assert npv is not None
    assert ppv[0] == pytest.approx(diseased[positive].mean(), abs=0.005)
    assert npv[0] == pytest.approx((~diseased)[~positive].mean(), abs=0.005)


def test_at_the_prevalence_of_the_images_it_is_the_proportion_in_the_images():
    result = predictive_value(81, 90, 10, 50, 90 / 140)
    assert result is not None
    assert result[0] == pytest.approx(81 / 91)


@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.9, 0.8), (0.97, 0.95), (0.99, 0.99)])
@pytest.mark.parametrize("prevalence", [0.1, 0.6])
def test_interval_covers_the_truth_in_95_of_100_studies(sensitivity, specificity, prevalence):
    generator = np.random.default_rng(0)
    truth = prevalence * sensitivity
    truth /= truth + (1 - prevalence) * (1 - specificity)
    hits, alarms = generator.binomial(390, sensitivity, 4000), generator.binomial(234, 1 - specificity, 4000)
    covered = 0
    for hit, alarm in zip(hits.tolist(), alarms.tolist(), strict=True):
        result = predictive_value(hit, 390, alarm, 234, prevalence)
        assert result is not None
        covered += result[1] <= truth <= result[2]
    # 1 % or fewer false positives are about two of 234, where no interval is exact.
    assert 0.94 < covered / 4000 < (0.97 if specificity < 0.99 else 0.99)


@pytest.mark.parametrize("counts", [(90, 90, 0, 50), (0, 90, 5, 50), (90, 90, 50, 50), (80, 90, 0, 50)])
def test_interval_contains_the_value_and_has_a_width(counts):
    result = predictive_value(*counts, 0.3)
    assert result is not None
    value, low, high = result
    assert 0 <= low <= value <= high <= 1
    assert high - low > 0.01


def test_without_images_there_is_no_value():
    assert predictive_value(0, 90, 0, 50, 0.3) is None


def test_holm_as_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1, 1]
