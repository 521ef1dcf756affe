"""What acquisition alone reaches: fitted to train, recomputed with scikit-learn, blind to the middle."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from cxr.core.dataset import Dataset
from cxr.evaluation.acquisition import acquisition_features, acquisition_model
from cxr.evaluation.acquisition_baseline import LEAST, acquisition_baseline

NAMES = ["normal", "pneumonia", "tuberculosis"]


def exposed(classes: int, train: int = 40, step: int = 25) -> Dataset:
    """Noise, of which each class is `step` grey levels brighter than the one before."""
    generator = np.random.default_rng(0)
    counts = {"train": train, "val": 15, "test": 20}
    splits = np.repeat(list(counts), [classes * count for count in counts.values()])
    labels = np.concatenate([np.arange(classes * count) % classes for count in counts.values()])
    means = 90 + step * labels + generator.normal(0, 20, len(labels))
    images = generator.normal(means[:, None, None], 30, (len(labels), 16, 16)).clip(0, 255).astype(np.uint8)
    return Dataset(images, labels, NAMES[:classes], splits, "plain")


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_equal_those_of_scikit_learn(classes):
    data = exposed(classes)
    result = acquisition_baseline(data, 200)
    train = data.rows("train")
    model = acquisition_model().fit(acquisition_features(data.images[train]), data.labels[train])
    assert set(result) == {"val", "test"}
    for split, scores in result.items():
        rows = data.rows(split)
        p = model.predict_proba(acquisition_features(data.images[rows]))
        name = "auc" if classes == 2 else "auc_ovr_macro"
        area = roc_auc_score(data.labels[rows], p[:, 1] if classes == 2 else p, multi_class="ovr")
        balanced = balanced_accuracy_score(data.labels[rows], p.argmax(axis=1))
        assert set(scores) == {name, "balanced_accuracy"}
        assert scores[name]["value"] == pytest.approx(area)
        assert scores["balanced_accuracy"]["value"] == pytest.approx(balanced)
        for score in scores.values():
            assert score["low"] < score["value"] < score["high"]
        assert area > 0.6


def test_patients_are_those_of_the_images_of_a_split():
    """Val and test have ten patients together: their intervals are not those over images."""
    data = exposed(2)
    patients = np.arange(len(data.labels))
    outside = data.splits != "train"
    patients[outside] = 1000 + np.arange(outside.sum()) * 10 // outside.sum()
    alone, grouped = (acquisition_baseline(replace(data, patients=known), 400) for known in (None, patients))
    assert acquisition_baseline(replace(data, patients=np.arange(len(data.labels))), 400) == alone
    for split in ("val", "test"):
        for name, score in grouped[split].items():
            assert score["value"] == alone[split][name]["value"]
            assert score["high"] - score["low"] != alone[split][name]["high"] - alone[split][name]["low"]


def test_nothing_is_learned_from_val_and_test():
    data = exposed(2)
    inverted = np.where((data.splits == "train")[:, None, None], data.images, 255 - data.images)
    other = Dataset(inverted.astype(np.uint8), data.labels, data.classes, data.splits, "plain")
    before, after = (acquisition_baseline(each, 50)["test"]["auc"]["value"] for each in (data, other))
    assert before > 0.6
    assert after < 0.4


def test_too_few_training_images_of_a_class_leave_it_out():
    assert acquisition_baseline(exposed(3, train=LEAST - 1), 50) == {}
    assert acquisition_baseline(exposed(3, train=LEAST), 50)
