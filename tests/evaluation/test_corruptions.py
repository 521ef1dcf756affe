"""Each corruption equals an independent implementation or has the statistics of its level."""

from functools import cache
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter
from torchvision.transforms.functional import adjust_gamma

from cxr.data.phantom.cohort import make_phantoms
from cxr.evaluation import corruptions
from cxr.evaluation.corruptions import KINDS, SEVERITIES, corrupt, overlap
from tests.builders import augmentation

NOISE = [kind for kind in KINDS if kind.endswith("_noise")]


def operation(kind: str) -> str:
    return kind.removesuffix("_up").removesuffix("_down")


@cache
def images(size: int = 28, count: int = 12) -> np.ndarray:
    images = make_phantoms((count // 2, count // 2), size, 0, "train").images
    images.setflags(write=False)
    return images


def grey(level: int) -> np.ndarray:
    return np.full((64, 28, 28), level, np.uint8)


def box(image: np.ndarray, fraction: float) -> np.ndarray:
    height, width = image.shape
    size = int(width * fraction), int(height * fraction)
    small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


def blur(image: np.ndarray, kernel: float) -> np.ndarray:
    sigma = 0.3 * ((kernel - 1) / 2 - 1) + 0.8
    return gaussian_filter(image.astype(float), sigma, radius=int(kernel) // 2, mode="mirror")


REFERENCES = {
    "gaussian_blur": blur,
    "pixelate": box,
    "brightness": lambda image, level: ImageEnhance.Brightness(Image.fromarray(image)).enhance(level),
    "contrast": lambda image, level: ImageEnhance.Contrast(Image.fromarray(image)).enhance(level),
    "gamma_corr": lambda image, level: adjust_gamma(Image.fromarray(image), level),
}


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if operation(kind) in REFERENCES])
def test_equals_a_single_image_in_another_library(kind, severity):
    """Within one level of 255, since some of them truncate levels that are rounded here."""
    reference = REFERENCES[operation(kind)]
    originals = images()
    for image, result in zip(originals, corrupt(originals, kind, severity), strict=True):
        expected = np.asarray(reference(image, KINDS[kind].levels[severity - 1]), float)
        np.testing.assert_allclose(result, expected, atol=1.01)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_rounds_the_cosine_transform_of_blocks(severity):
    """By the table for its quality; integer arithmetic rounds a few coefficients the other way."""
    original = images(64)[:1]
    file = BytesIO()
    Image.fromarray(original[0]).save(file, "JPEG", quality=KINDS["jpeg_compression"].levels[severity - 1])
    table = np.reshape(Image.open(file).quantization[0], (8, 8))
    blocks = original[0].reshape(8, 8, 8, 8).swapaxes(1, 2) - 128.0
    rounded = np.rint(dctn(blocks, axes=(2, 3), norm="ortho") / table) * table
    expected = idctn(rounded, axes=(2, 3), norm="ortho").swapaxes(1, 2).reshape(64, 64) + 128
    expected = expected.clip(0, 255)
    result = corrupt(original, "jpeg_compression", severity)[0]
    assert np.mean(np.abs(result - expected) <= 1.5) > 0.9


def test_images_need_not_be_square():
    image = images()[0][:20]
    for kind, expected in (("pixelate", box(image, 0.6)), ("gaussian_blur", blur(image, 7))):
        np.testing.assert_allclose(corrupt(image[None], kind, 3)[0], expected.astype(float), atol=1.01)


@pytest.mark.parametrize("severity", [1, 5])
def test_noise_is_as_strong_as_its_level(severity):
    level = {kind: KINDS[kind].levels[severity - 1] for kind in NOISE}
    for value in (60, 120):
        deviation = {
            "gaussian_noise": 255 * level["gaussian_noise"],
            "speckle_noise": value * level["speckle_noise"],
            "shot_noise": 255 * np.sqrt(value / 255 / level["shot_noise"]),
        }
        for kind, expected in deviation.items():
            noise = corrupt(grey(value), kind, severity) - float(value)
            assert noise.std() == pytest.approx(expected, rel=0.02), kind
            assert noise.mean() == pytest.approx(0, abs=0.5), kind


def test_impulses_are_black_or_white_with_equal_probability():
    for severity in SEVERITIES:
        fraction = KINDS["impulse_noise"].levels[severity - 1]
        result = corrupt(grey(100), "impulse_noise", severity)
        assert set(np.unique(result)) == {0, 100, 255}
        assert np.mean(result == 0) == pytest.approx(fraction / 2, rel=0.25)
        assert np.mean(result == 255) == pytest.approx(fraction / 2, rel=0.25)


@pytest.mark.parametrize("size", [16, 28, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_severities_are_in_order(kind, size):
    originals = images(size, 60 if size == 16 else 12)
    change = []
    for severity in SEVERITIES:
        result = corrupt(originals, kind, severity)
        assert (result.dtype, result.shape) == (np.uint8, originals.shape)
        change.append(np.abs(result - originals.astype(float)).mean())
    if (kind, size) == ("pixelate", 28):
        # Half of 28 pixels falls on whole ones and blurs less than the 16 of the severity before.
        change.pop(3)
    assert change[0] > 0
    assert np.all(np.diff(change) > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_result_depends_neither_on_later_images_nor_on_the_block_size(kind, monkeypatch):
    originals = images()
    result = corrupt(originals, kind, 4)
    assert np.array_equal(corrupt(originals[:5], kind, 4), result[:5])
    monkeypatch.setattr(corruptions, "BLOCK", 7)
    assert np.array_equal(corrupt(originals, kind, 4), result)


@pytest.mark.parametrize("kind", NOISE)
def test_every_image_and_severity_has_independent_noise(kind):
    def noise(severity: int) -> np.ndarray:
        return corrupt(grey(128), kind, severity)[:2].reshape(2, -1) - 128.0

    strong, weaker = noise(5), noise(4)
    correlations = np.corrcoef([*strong, *weaker])[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 0.15


def test_no_image_is_no_error():
    for kind in KINDS:
        assert corrupt(images()[:0], kind, 1).shape == (0, 28, 28)


def test_overlap_follows_the_parameters():
    assert not any(overlap(kind, augmentation(rotation=10.0, erasing=0.3)) for kind in KINDS)
    settings = augmentation(gamma=0.2, noise=0.05)
    result = {kind: words for kind in KINDS if (words := overlap(kind, settings))}
    assert set(result) == {
        *("gaussian_noise", "speckle_noise", "shot_noise"),
        *("gamma_corr_up", "gamma_corr_down"),
    }
    assert result["gamma_corr_up"] == "augment.gamma 0.2"
    assert result["shot_noise"] == "augment.noise 0.05"
