"""What grey levels and borders tell of the class, and which images they mislead about."""

import numpy as np
from sklearn.metrics import roc_auc_score

from cxr.evaluation.acquisition import acquisition_features, cross_validated, shortcut_conflicting


def images_of(labels: np.ndarray, brighter: float, seed: int = 0) -> np.ndarray:
    """Noise around a grey level that is `brighter` in class 1."""
    generator = np.random.default_rng(seed)
    level = 100 + brighter * labels + generator.normal(0, 10, len(labels))
    noise = generator.normal(0, 5, (len(labels), 28, 28))
    return np.clip(level[:, None, None] + noise, 0, 255).astype(np.uint8)


def test_features_are_quantiles_moments_and_the_four_borders():
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, :2], image[0, -2:], image[0, :, :2], image[0, :, -2:] = 51, 102, 153, 204
    features = acquisition_features(image)[0]
    assert features.shape == (15,)
    np.testing.assert_allclose(
        features[:9], np.quantile(image, [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]) / 255
    )
    np.testing.assert_allclose(features[9:11], [image.mean() / 255, image.std() / 255])
    borders = [image[0, :2].mean(), image[0, -2:].mean(), image[0, :, :2].mean(), image[0, :, -2:].mean()]
    np.testing.assert_allclose(features[11:], np.array(borders) / 255)
    assert len(set(features[11:])) == 4


def test_brightness_tells_the_class_and_misleads_where_it_is_exchanged():
    labels = np.arange(200) % 2
    images = images_of(labels, brighter=40)
    exchanged = np.arange(200) < 20
    images[exchanged] = images_of(1 - labels, brighter=40, seed=1)[exchanged]
    right = cross_validated(images, labels, np.arange(200))
    assert right[~exchanged].mean() > 0.8
    assert right[exchanged].mean() < 0.2
    conflicting = shortcut_conflicting(right, labels, 0.1)
    assert conflicting[exchanged].mean() > 0.8
    assert [int(conflicting[labels == label].sum()) for label in (0, 1)] == [10, 10]


def test_no_group_is_on_both_sides_of_a_fold():
    """Ten patients, each with a grey level of its own and classes at random: known patients would be told."""
    groups = np.repeat(np.arange(10), 20)
    labels = np.random.default_rng(0).permutation(10)[groups] % 2
    images = np.clip(25 * groups[:, None, None] + np.zeros((1, 28, 28)), 0, 255).astype(np.uint8)
    right = cross_validated(images, labels, groups)
    score = np.where(labels == 1, right, 1 - right)
    assert roc_auc_score(labels, score) < 0.9
    assert all(len(np.unique(right[groups == group].round(9))) == 1 for group in range(10))
