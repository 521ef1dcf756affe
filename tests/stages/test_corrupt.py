"""What stage corrupt stores: probabilities of the uncorrupted and the corrupted radiographs, uncalibrated."""

import numpy as np
import pytest
import torch

from cxr.core.dataset import load_dataset
from cxr.evaluation.corruptions import CORRUPTED, KINDS, SEVERITIES, corrupt
from cxr.models.classifier import load_classifier, predict
from stages import corrupt as stage
from tests.builders import save_classifier, small_classifier, write_packed, write_params


@pytest.fixture
def stored(tmp_path, monkeypatch) -> np.ndarray:
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (4, 4), "val": (3, 3), "test": (6, 9)}, ["normal", "sick"])
    save_classifier(small_classifier(tta="flip_zoom"))
    write_params(tmp_path, {"compute.threads": 1, "compute.device": "cpu"})
    stage.main()
    return np.load(CORRUPTED)


def test_conditions_are_in_the_order_of_kinds_and_severities(stored):
    data, model = load_dataset(), load_classifier().with_tta("none")
    images = data.images[data.rows("test")]
    assert stored.shape == (1 + len(KINDS) * len(SEVERITIES), 15, 2)
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored[0], predict(model, images, torch.device("cpu")).mean)
    kinds = list(KINDS)
    for kind, severity in ((kinds[0], 1), (kinds[5], 3), (kinds[-1], len(SEVERITIES))):
        position = 1 + kinds.index(kind) * len(SEVERITIES) + severity - 1
        expected = predict(model, corrupt(images, kind, severity), torch.device("cpu")).mean
        np.testing.assert_array_equal(stored[position], expected)


def test_no_calibration_is_needed(stored):
    """The fixture writes none, so that no threshold can change what is stored."""
    assert len(np.unique(stored[:, :, 1])) > 100
