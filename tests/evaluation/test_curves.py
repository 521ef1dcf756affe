"""Curves and areas equal scikit-learn's on resampled images; the band covers a known curve."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics as sk

from cxr.evaluation.curves import GRID, one_vs_rest, ranked_counts
from cxr.evaluation.statistics import blocks
from tests.builders import drawn_predictions


@pytest.mark.parametrize(("classes", "label"), [(2, 1), (3, 0), (3, 2)])
def test_band_and_areas_are_those_of_resampled_images(classes, label):
    data = drawn_predictions([1.2], images=150, classes=classes).of("test")
    data.ensemble[:20] = data.ensemble[20:40]  # ties
    result = one_vs_rest(data.labels, data.ensemble, label, 40)
    (counts,) = blocks(data.labels, 40)
    roc, precision_recall, auc = [], [], []
    for images in counts.astype(int):
        copies = np.repeat(np.arange(len(images)), images)
        positive, p = data.labels[copies] == label, data.ensemble[copies, label]
        x, y, _ = sk.roc_curve(positive, p, drop_intermediate=False)
        roc.append([np.interp(f, x, y) if f not in x else y[x == f].max() for f in GRID])
        precision, recall, _ = sk.precision_recall_curve(positive, p)
        # In the order of rising recall; without scikit-learn's last point, and images that are no threshold.
        precision, recall = precision[-2::-1], recall[-2::-1]
        precision_recall.append([precision[recall > 0][recall[recall > 0] >= r - 1e-12][0] for r in GRID])
        auc.append(sk.roc_auc_score(positive, p))
    for band, samples in ((result.roc, roc), (result.precision_recall, precision_recall)):
        low, high = np.percentile(samples, [2.5, 97.5], axis=0)
        np.testing.assert_allclose(band.low, low, atol=1e-9)
        np.testing.assert_allclose(band.high, high, atol=1e-9)
    positive, p, areas = data.labels == label, data.ensemble[:, label], result.areas
    assert areas["auc"]["value"] == pytest.approx(sk.roc_auc_score(positive, p))
    assert areas["average_precision"]["value"] == pytest.approx(sk.average_precision_score(positive, p))
    assert (areas["auc"]["low"], areas["auc"]["high"]) == pytest.approx(
        tuple(np.percentile(auc, [2.5, 97.5]))
    )


def test_band_covers_the_true_curve_at_a_point():
    """Normal scores, positives one standard deviation higher: the binormal curve."""
    at = 60  # of GRID
    truth = norm.cdf(1 + norm.ppf(GRID[at]))
    labels = np.repeat([0, 1], 80)
    covered = 0
    for seed in range(100):
        scores = norm.cdf(np.random.default_rng(seed).normal(size=160) + labels)
        band = one_vs_rest(labels, np.stack([1 - scores, scores], axis=1), 1, 200).roc
        covered += band.low[at] <= truth <= band.high[at]
    assert 90 <= covered <= 99


def test_counts_of_equal_probabilities_stay_together():
    positive, p = np.array([True, False, True, False]), np.array([0.8, 0.8, 0.3, 0.1])
    true, false = ranked_counts(positive, p, np.array([[1.0, 1, 1, 1], [2, 0, 1, 1]]))
    assert true.tolist() == [[1, 2, 2], [2, 3, 3]]
    assert false.tolist() == [[1, 1, 2], [0, 0, 1]]
