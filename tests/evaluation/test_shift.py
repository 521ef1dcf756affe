"""Samples of one distribution are indistinguishable, shifted ones are not; distances equal their formula."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from cxr.core.dataset import load_dataset
from cxr.evaluation import shift
from cxr.evaluation.shift import chance_band, compare_splits, domain_auc, drawn_rows, energy_distance, folds
from tests.builders import write_packed


def samples(first: int, second: int, move: float = 0, dimensions: int = 8, seed: int = 0):
    """Points of two normal samples, the second one moved along the first axis."""
    points = np.random.default_rng(seed).normal(size=(first + second, dimensions))
    which = np.arange(first + second) >= first
    points[which, 0] += move
    return points, which, np.arange(first + second)


def test_halves_of_one_sample_are_indistinguishable():
    inside = []
    for seed in range(20):
        points, second, groups = samples(150, 100, seed=seed)
        low, high = chance_band(second)
        inside.append(low < domain_auc(points, second, groups) < high)
    assert np.mean(inside) >= 0.8  # 0.95 but for chance


def test_shifted_samples_are_distinguished():
    points, second, groups = samples(150, 100, move=6)
    assert domain_auc(points, second, groups) > 0.99


def test_auc_of_a_known_shift():
    """Two normals that lie d apart have an AUC of Phi(d / sqrt(2))."""
    points, second, groups = samples(2000, 2000, move=1)
    assert domain_auc(points, second, groups) == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.02)


def test_chance_band_holds_95_percent_of_random_scores():
    generator, (_, second, _) = np.random.default_rng(0), samples(60, 25)
    low, high = chance_band(second)
    aucs = np.array([roc_auc_score(second, generator.normal(size=85)) for _ in range(500)])
    assert np.mean((low < aucs) & (aucs < high)) == pytest.approx(0.95, abs=0.03)


def test_grouped_folds_prevent_recognition_of_patients():
    """Patients differ, samples do not: only a classifier that was trained on a patient knows the sample."""
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 5)
    points = 3 * generator.normal(size=(40, 30))[patients] + generator.normal(size=(200, 30))
    second = patients % 2 == 1
    assert domain_auc(points, second, np.arange(200)) > 0.9
    low, high = chance_band(np.arange(40) % 2 == 1)
    assert low < domain_auc(points, second, patients) < high


def test_folds_are_limited_by_the_groups():
    second = np.array([False] * 6 + [True] * 6)
    assert folds(second, np.arange(12)) == 5
    assert folds(second, np.array([0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8])) == 3
    assert folds(second, np.array([0] * 6 + [1, 2, 3, 4, 5, 6])) == 1


def test_energy_distance_equals_the_formula():
    points, second, _ = samples(7, 5, move=2, dimensions=3)
    x, y = points[~second], points[second]
    across = np.mean([np.linalg.norm(a - b) for a in x for b in y])
    within = [np.mean([np.linalg.norm(a - b) for a, b in permutations(side, 2)]) for side in (x, y)]
    value, _ = energy_distance(points, second)
    assert value == pytest.approx((2 * across - sum(within)) / (2 * across), abs=1e-5)


def test_energy_distance_agrees_with_scipy_in_one_dimension():
    """SciPy's is the root, not relative, and includes a point's distance of 0 from itself."""
    points, second, _ = samples(400, 300, move=1, dimensions=1)
    x, y = points[~second, 0], points[second, 0]
    across = cdist(x[:, None], y[:, None]).mean()
    itself = sum(cdist(side[:, None], side[:, None]).mean() / (len(side) - 1) for side in (x, y))
    expected = (stats.energy_distance(x, y) ** 2 - itself) / (2 * across)
    assert energy_distance(points, second)[0] == pytest.approx(expected, abs=1e-4)


def test_p_value_is_small_only_for_a_shift():
    assert energy_distance(*samples(80, 60, move=1.5)[:2])[1] == pytest.approx(1 / (shift.PERMUTATIONS + 1))
    p_values = [energy_distance(*samples(30, 20, seed=seed)[:2])[1] for seed in range(60)]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_rows_are_all_or_as_many_as_allowed_of_each_class_and_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (40, 30), "val": (12, 14), "test": (15, 25)}, ["a", "b"])
    data = load_dataset()
    assert drawn_rows(data).tolist() == list(range(136))
    monkeypatch.setattr(shift, "MOST", 14)
    rows = drawn_rows(data)
    assert np.all(np.diff(rows) > 0)
    for split, label, count in (("train", 0, 14), ("train", 1, 14), ("val", 0, 12), ("test", 1, 14)):
        assert np.sum((data.splits[rows] == split) & (data.labels[rows] == label)) == count


def test_report_has_each_space_pair_and_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (40, 30, 20), "val": (12, 1, 9), "test": (15, 12, 10)}, ["a", "b", "c"])
    data = load_dataset()
    rows = drawn_rows(data)
    embeddings = np.random.default_rng(0).normal(size=(len(rows), 6))
    embeddings[(data.splits == "test") & (data.labels == 2)] += 5
    report = compare_splits(data, rows, embeddings, rows)
    assert set(report) == {"pixels", "embeddings"}
    for space in report.values():
        classes = {pair: set(result) for pair, result in space.items()}
        assert classes == {
            "train_val": {"a", "c"},  # val has a single image of b
            "train_test": {"a", "b", "c"},
            "val_test": {"a", "c"},
        }
    result = report["embeddings"]["train_test"]
    assert (result["c"]["auc"], result["c"]["p_value"]) == (pytest.approx(1), 1 / (shift.PERMUTATIONS + 1))
    for name in ("a", "b"):
        assert result[name]["chance_low"] - 0.1 < result[name]["auc"] < result[name]["chance_high"] + 0.1
        assert result[name]["p_value"] > 0.01


def test_large_images_are_resized_and_small_ones_are_not():
    large = np.arange(2 * 56 * 56).reshape(2, 56, 56) % 251
    small = shift.shrunk(large.astype(np.uint8))
    assert (small.shape, small.dtype) == ((2, 28, 28), np.uint8)
    assert small.mean() == pytest.approx(large.mean(), abs=2)
    assert shift.shrunk(small) is small


def test_the_axes_are_those_of_train_whatever_test_holds(tmp_path, monkeypatch):
    """What is compared of train and val does not change with the pixels or the embeddings of test."""
    monkeypatch.setattr(shift, "PERMUTATIONS", 19)
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (30, 20), "val": (10, 12), "test": (14, 12)}, ["a", "b"], size=8)
    data = load_dataset()
    rows, test = drawn_rows(data), data.splits == "test"
    images = data.images.copy()
    images[test] = images[test][:, ::-1] // 2
    embeddings = np.random.default_rng(0).normal(size=(len(rows), 40))
    before = compare_splits(data, rows, embeddings, rows)
    after = compare_splits(
        replace(data, images=images), rows, np.where(test[:, None], embeddings**2 * 30, embeddings), rows
    )
    for space in ("pixels", "embeddings"):
        assert after[space]["train_val"] == before[space]["train_val"]
        assert after[space]["train_test"] != before[space]["train_test"]


def test_spaces_and_classes_are_what_they_are_called(tmp_path, monkeypatch):
    """The pixels of one class move, the embeddings of the other one."""
    monkeypatch.setattr(shift, "PERMUTATIONS", 19)
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (40, 40), "val": (12, 12), "test": (30, 30)}, ["a", "b"])
    data = load_dataset()
    rows, of_test = drawn_rows(data), data.splits == "test"
    images = data.images.copy()
    images[of_test & (data.labels == 0)] //= 3
    embeddings = np.random.default_rng(0).normal(size=(len(rows), 4))
    embeddings[of_test & (data.labels == 1)] += 6
    report = compare_splits(replace(data, images=images), rows, embeddings, rows)
    for space, moved, stayed in (("pixels", "a", "b"), ("embeddings", "b", "a")):
        result = report[space]["train_test"]
        assert result[moved]["auc"] > 0.9
        assert result[stayed]["auc"] < 0.8
        assert result[moved]["energy_distance"] > 5 * result[stayed]["energy_distance"]
