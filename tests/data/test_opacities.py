"""What is known of the opacities of a synthetic radiograph is what drawing it without them changes."""

import numpy as np
import pytest

from cxr.core.dataset import load_opacities, save_dataset
from cxr.data.phantom import cohort
from cxr.data.phantom.cohort import CLASSES, make_phantoms
from cxr.data.phantom.findings import Findings, disease
from tests.builders import noise_images, refused

COUNTS = (6, 20, 20)


@pytest.mark.parametrize(("size", "split"), [(28, "train"), (28, "test"), (56, "val")])
def test_the_radiograph_drawn_without_opacities_differs_by_them(size, split, monkeypatch):
    drawn = make_phantoms(COUNTS, size, 3, split)

    def without(*arguments: object) -> Findings:
        found = disease(*arguments)
        return Findings(found.filling - found.opacities, 0 * found.opacities, found.streaks)

    monkeypatch.setattr(cohort, "disease", without)
    healthy = make_phantoms(COUNTS, size, 3, split)

    assert not healthy.opacities.any()
    change = drawn.images.astype(int) - healthy.images
    # Muscle beside the lungs follows the attenuation, which changes two grey levels at most.
    assert np.abs(change - drawn.opacities).max() <= 2
    assert (drawn.opacities.max(axis=(1, 2)) >= 10)[drawn.labels > 0].mean() > 0.8
    assert not drawn.opacities[drawn.labels == 0].any()


def test_opacities_lie_in_the_lungs_and_tuberculosis_above_pneumonia():
    drawn = make_phantoms((0, 100, 100), 28, 0, "train")
    means = [drawn.opacities[drawn.labels == c].mean(axis=0) for c in (1, CLASSES.index("tuberculosis"))]
    heights = [(mean.sum(axis=1) * np.arange(28)).sum() / mean.sum() for mean in means]
    assert heights[1] < heights[0] - 2
    for mean in means:
        assert mean[:, 13:15].mean() < 0.2 * mean[:, 5:9].mean()  # the mediastinum
        assert mean[24:].max() < 0.1 * mean.max()  # the abdomen


def test_knowing_the_opacities_changed_no_radiograph():
    """Mean grey level of each radiograph, recorded before opacities were known; another order of the random
    numbers would move them by many grey levels."""
    recorded = {
        "train": [150.67, 145.83, 143.26, 154.11, 156.47, 144.76],
        "test": [134.69, 142.52, 137.2, 144.9, 133.76, 165.55],
    }
    for split, means in recorded.items():
        images = make_phantoms((2, 2, 2), 28, 5, split).images
        np.testing.assert_allclose(images.mean(axis=(1, 2)), means, atol=0.02)


def test_a_source_without_known_opacities_has_an_empty_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused("data/opacities.npy: no data set here", "`dvc repro`"):
        load_opacities()
    images = noise_images(3)
    rows = [("train", "normal", "", "", "")] * 3
    save_dataset(images, rows, "plain")
    assert load_opacities() is None
    save_dataset(images, rows, "plain", images // 2)
    assert np.array_equal(load_opacities(), images // 2)
