"""Normalisation of a network's input: what each kind removes, and what it leaves."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import affine

from cxr.models.preprocess import (
    FLAT,
    NEIGHBOURHOOD,
    Preprocess,
    augmented_copies,
    fit_normalisation,
    to_grey,
)
from tests.builders import noise_images


def radiographs() -> Tensor:
    return 0.2 + 0.5 * torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def normalised(grey: Tensor, kind: str) -> Tensor:
    return Preprocess(28, (0.5,), (0.2,), kind)(grey)


def test_image_normalisation_is_by_each_images_own_mean_and_deviation():
    grey = radiographs()
    for result, image in zip(normalised(grey, "image"), grey, strict=True):
        expected = (image - image.mean()) / (image.std(correction=0) + FLAT)
        torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("kind", ["image", "local"])
def test_brightness_and_contrast_are_removed(kind):
    grey = radiographs()
    before, after = normalised(grey, kind), normalised(0.1 + 0.8 * grey, kind)
    assert float((before - after).abs().max()) < 0.15 * float(before.abs().max())
    train = normalised(grey, "train"), normalised(0.1 + 0.8 * grey, "train")
    assert float((train[0] - train[1]).abs().max()) > 0.15 * float(before.abs().max())


@pytest.mark.parametrize("kind", ["image", "local"])
@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_an_image_without_contrast_becomes_zeros_not_noise(kind, level):
    result = normalised(torch.full((2, 1, 28, 28), level), kind)
    torch.testing.assert_close(result, torch.zeros_like(result), atol=1e-4, rtol=0)


def test_local_normalisation_equals_scipys_gaussians_away_from_the_border():
    grey = radiographs()
    sigma = NEIGHBOURHOOD * 28
    for result, image in zip(normalised(grey, "local"), grey[:, 0].numpy(), strict=True):
        # At the border our weights are those of the pixels that are there.
        inside = gaussian_filter(np.ones_like(image), sigma, mode="constant", truncate=9)
        centred = image - gaussian_filter(image, sigma, mode="constant", truncate=9) / inside
        deviation = np.sqrt(gaussian_filter(centred**2, sigma, mode="constant", truncate=9) / inside)
        np.testing.assert_allclose(result[0], centred / (deviation + FLAT), atol=1e-4)


@pytest.mark.parametrize("kind", ["train", "image", "local"])
def test_three_channels_are_the_same_image_unless_they_have_statistics_of_their_own(kind):
    result = Preprocess(28, (0.4, 0.5, 0.6), (0.2, 0.2, 0.2), kind)(radiographs())
    assert result.shape == (4, 3, 28, 28)
    assert torch.equal(result[:, 0], result[:, 1]) == (kind != "train")


def test_normalisation_is_that_of_the_images():
    images = noise_images(300)  # more than the 256 that are counted at a time
    fitted_to = fit_normalisation(images)
    assert fitted_to == (
        pytest.approx(images.mean() / 255, abs=1e-6),
        pytest.approx(images.std() / 255, abs=1e-6),
    )
    mean, std = fitted_to
    x = Preprocess(16, (mean,), (std,))(to_grey(torch.from_numpy(images)))
    assert x.shape == (300, 1, 16, 16)
    assert float(x.mean()) == pytest.approx(0, abs=1e-4)
    assert float(x.std()) == pytest.approx(1, abs=1e-4)


def test_images_of_one_level_are_not_divided_by_zero():
    assert fit_normalisation(np.full((3, 16, 16), 7, np.uint8))[1] > 0


def test_zoomed_copies_are_torchvisions():
    grey = to_grey(torch.from_numpy(noise_images(3, size=40)))
    copies = augmented_copies(grey, "flip_zoom")
    assert len(copies) == 6
    assert torch.equal(copies[2], grey)
    assert torch.equal(copies[3], grey.flip(-1))
    for copy, zoom in ((copies[0], 0.9), (copies[4], 1.1)):
        expected = affine(grey, 0.0, [0, 0], zoom, [0.0], InterpolationMode.BILINEAR, center=None)
        inside = (..., slice(4, -4), slice(4, -4))  # the two fill the border differently
        torch.testing.assert_close(copy[inside], expected[inside], atol=1e-3, rtol=0)


def test_a_pattern_finer_than_the_input_becomes_its_mean():
    stripes = (torch.arange(28) % 2).float().expand(1, 1, 28, 28)
    for pattern in (stripes, stripes.transpose(2, 3)):
        reduced = Preprocess(10, (0.0,), (1.0,)).resize(pattern)
        torch.testing.assert_close(reduced[..., 1:-1, 1:-1], torch.full((1, 1, 8, 8), 0.5), atol=0.1, rtol=0)
