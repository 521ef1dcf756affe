"""Blur, noise and JPEG compression equal the reference implementations, with a draw for every image."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from cxr.training.augment import augment
from cxr.training.degradation import blurred, compressed
from tests.builders import augmentation

COUNT = 200


def radiographs(size: int = 28) -> Tensor:
    """(6, 1, size, size): smooth images with an edge, as grey levels of 8 bits."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    waves = torch.stack([0.5 + 0.3 * torch.sin(x / (2 + i)) * torch.cos(y / (3 + i)) for i in range(6)])
    waves[:, size // 2 :, : size // 2] += 0.2
    return (waves.unsqueeze(1) * 255).round() / 255


def every(value: float, images: Tensor) -> Tensor:
    return torch.full((len(images), 1, 1, 1), value)


@pytest.mark.parametrize("size", [28, 33])
@pytest.mark.parametrize("quality", [5, 30, 50, 75, 95])
def test_compression_equals_pillows(quality, size):
    images = radiographs(size)
    result = (compressed(images, every(quality, images))[:, 0] * 255).round().numpy()
    for image, ours in zip((images[:, 0] * 255).round().byte().numpy(), result, strict=True):
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        pillows = np.asarray(Image.open(file), np.float32)
        # libjpeg rounds intermediate values, so that a coefficient half-way may be rounded the other way.
        difference, change = np.abs(ours - pillows), np.abs(pillows - image)
        assert np.median(difference) == 0
        assert difference.mean() < 0.35 * change.mean() + 0.15


@pytest.mark.parametrize("deviation", [0.02, 0.06])
def test_blur_equals_scipys_away_from_the_border(deviation):
    images = radiographs(64)
    result = blurred(images, every(deviation, images))[:, 0].numpy()
    for image, ours in zip(images[:, 0].numpy(), result, strict=True):
        expected = gaussian_filter(image, deviation * 64, truncate=8)
        np.testing.assert_allclose(ours[16:-16, 16:-16], expected[16:-16, 16:-16], atol=2e-4)


def test_blur_of_a_constant_image_is_that_image_and_no_blur_changes_nothing():
    flat, images = torch.full((3, 1, 20, 20), 0.7), radiographs()
    torch.testing.assert_close(blurred(flat, every(0.1, flat)), flat)
    torch.testing.assert_close(blurred(images, every(0.0, images)), images)


@pytest.mark.parametrize(("name", "value"), [("blur", 0.05), ("jpeg", 5), ("noise", 0.1)])
def test_strength_is_drawn_for_each_image_from_none_to_the_limit(name, value):
    images = radiographs()[:1].expand(COUNT, -1, -1, -1)
    generator = torch.Generator().manual_seed(0)
    changed = augment(images, augmentation(**{name: value}), generator)
    change = (changed - images).square().mean(dim=(1, 2, 3)).sqrt().numpy()
    strongest = {
        "blur": lambda: blurred(images[:1], every(0.05, images[:1])),
        "jpeg": lambda: compressed(images[:1], every(5.0, images[:1])),
        "noise": lambda: images[:1] + 0.1 * torch.randn(1, 1, 28, 28, generator=generator),
    }[name]()
    largest = float((strongest - images[:1]).square().mean().sqrt())
    assert change.max() < 1.1 * largest
    assert change.max() > 0.8 * largest
    assert change.min() < 0.2 * largest
    assert len(np.unique(change)) > COUNT / 2
