"""Normalisation of a network's input: what each kind removes, and what it leaves."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from cxr.models.preprocess import FLAT, NEIGHBOURHOOD, Preprocess


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
