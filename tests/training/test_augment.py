"""Each augmentation does what its parameter documents, with a draw of its own for every image."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import affine

from cxr.training.augment import augment
from tests.builders import augmentation

SIZE, COUNT = 64, 300
OFFSET = 14.0  # pixels from the centre to the blob, to its right


def run(grey: Tensor, seed: int = 0, **settings: float) -> Tensor:
    return augment(grey, augmentation(**settings), torch.Generator().manual_seed(seed))


def blob() -> Tensor:
    """COUNT copies of a bright spot: the location of its centre shows how the image was transformed."""
    y, x = _coordinates()
    spot = torch.exp(-((x - OFFSET) ** 2 + y**2) / (2 * 3**2))
    return spot.expand(COUNT, 1, SIZE, SIZE)


def waves() -> Tensor:
    """COUNT copies of a smooth image without symmetry, 0.2 to 0.8."""
    y, x = _coordinates()
    image = 0.5 + 0.15 * torch.sin(x / 6 + y / 11) + 0.15 * torch.cos(y / 7 - x / 20)
    return image.expand(COUNT, 1, SIZE, SIZE)


def _coordinates() -> tuple[Tensor, Tensor]:
    axis = torch.arange(SIZE) - (SIZE - 1) / 2
    return torch.meshgrid(axis, axis, indexing="ij")


def centre(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The location of the blob in each image: pixels right of and below the centre."""
    y, x = _coordinates()
    mass = images.sum(dim=(1, 2, 3))
    return ((images * x).sum(dim=(1, 2, 3)) / mass).numpy(), ((images * y).sum(dim=(1, 2, 3)) / mass).numpy()


def assert_fills(draws: np.ndarray, half_width: float, tolerance: float) -> None:
    """The draws stay within +- half_width and reach both ends of it."""
    assert abs(draws).max() <= half_width + tolerance
    assert draws.min() < -0.9 * half_width
    assert draws.max() > 0.9 * half_width
    assert abs(draws.mean()) < 0.15 * half_width


def assert_equals_torchvision(images: Tensor, angles, rights, downs, factors) -> None:
    """`images` are `waves()` after these moves, away from the border, where fillings may differ."""
    original = waves()[0]
    inside = (..., slice(14, -14), slice(14, -14))
    for image, angle, right, down, factor in list(zip(images, angles, rights, downs, factors, strict=True))[
        :20
    ]:
        expected = affine(
            *(original, float(angle), [float(right), float(down)], float(factor), [0.0, 0.0]),
            interpolation=InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(image[inside], expected[inside], atol=0.01, rtol=0)


def test_no_augmentation_changes_nothing():
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(run(images), images, atol=1e-5, rtol=0)


def test_rotation_turns_about_the_centre():
    x, y = centre(run(blob(), rotation=30))
    np.testing.assert_allclose(np.hypot(x, y), OFFSET, atol=0.15)
    angles = np.degrees(np.arctan2(y, x))  # clockwise, since y points down
    assert_fills(angles, 30, 0.3)
    none, one = np.zeros(COUNT), np.ones(COUNT)
    assert_equals_torchvision(run(waves(), rotation=30), angles, none, none, one)


def test_scale_grows_and_shrinks_about_the_centre():
    x, y = centre(run(blob(), scale=0.2))
    np.testing.assert_allclose(y, 0, atol=0.05)
    factors = x / OFFSET
    assert_fills(factors - 1, 0.2, 0.005)
    none = np.zeros(COUNT)
    assert_equals_torchvision(run(waves(), scale=0.2), none, none, none, factors)


def test_shift_moves_by_fractions_of_the_side():
    x, y = centre(run(blob(), shift=0.1))
    right, down = x - OFFSET, y
    for moved in (right, down):
        assert_fills(moved, 0.1 * SIZE, 0.05)
    assert abs(np.corrcoef(right, down)[0, 1]) < 0.15  # two draws, not one
    none, one = np.zeros(COUNT), np.ones(COUNT)
    assert_equals_torchvision(run(waves(), shift=0.1), none, right, down, one)


def test_flip_of_one_is_the_mirror_image():
    torch.testing.assert_close(run(waves(), flip=1), waves().flip(-1), atol=1e-4, rtol=0)


def test_flip_of_a_third_mirrors_a_third():
    mirrored = centre(run(blob(), flip=1 / 3))[0] < 0
    assert abs(mirrored.mean() - 1 / 3) < 4 * math.sqrt(2 / 9 / COUNT)


def test_mirrored_images_turn_and_shift_like_others():
    # A mirror image must not bias which way an image turns or moves.
    x, y = centre(run(blob(), flip=1, rotation=20))
    np.testing.assert_allclose(np.hypot(x, y), OFFSET, atol=0.15)  # and are not sheared
    assert_fills(np.degrees(np.arctan2(y, -x)), 20, 0.3)
    x, y = centre(run(blob(), flip=1, shift=0.1))
    assert_fills(x + OFFSET, 0.1 * SIZE, 0.05)
    assert_fills(y, 0.1 * SIZE, 0.05)


def test_brightness_adds_one_number_to_an_image():
    added = run(waves(), brightness=0.15) - waves()
    assert added.std(dim=(1, 2, 3)).max() < 1e-5
    assert_fills(added.mean(dim=(1, 2, 3)).numpy(), 0.15, 1e-5)


def test_contrast_stretches_about_the_images_mean():
    images, mean = run(waves(), contrast=0.3), waves().mean()
    torch.testing.assert_close(images.mean(dim=(1, 2, 3)), mean.expand(COUNT), atol=1e-5, rtol=0)
    factors = (images.std(dim=(1, 2, 3)) / waves()[0].std()).view(-1, 1, 1, 1)
    torch.testing.assert_close(images, (waves() - mean) * factors + mean, atol=1e-4, rtol=0)
    assert_fills(factors.flatten().numpy() - 1, 0.3, 1e-4)


def test_gamma_is_a_power():
    exponents = run(waves(), gamma=0.5).log() / waves().log()
    assert exponents.std(dim=(1, 2, 3)).max() < 1e-4
    assert_fills(exponents.mean(dim=(1, 2, 3)).log().numpy(), 0.5, 1e-4)


def test_noise_has_a_deviation_of_its_own_in_each_image():
    added = run(waves(), noise=0.05) - waves()
    assert abs(added.mean()) < 1e-3
    deviations = added.std(dim=(1, 2, 3)).numpy()
    assert deviations.max() < 0.05 * 1.05
    assert deviations.min() < 0.005
    assert deviations.max() > 0.045


def test_erasing_fills_one_square_with_the_mean():
    images, original = run(waves(), erasing=0.4), waves()[0, 0]
    sides = []
    for image in images[:, 0]:
        changed = (image - original).abs() > 2e-5
        ys, xs = torch.where(changed)
        if len(ys) == 0:  # a draw near zero erases nothing
            sides.append(0)
            continue
        top, bottom, left, right = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
        box = image[top:bottom, left:right]
        torch.testing.assert_close(box, original.mean().expand_as(box), atol=1e-4, rtol=0)
        sides.append(int(max(bottom - top, right - left)))
        if top > 0 and left > 0 and bottom < SIZE and right < SIZE:
            assert abs((bottom - top) - (right - left)) <= 1  # a square, but for rounding to pixels
    assert max(sides) <= 0.4 * SIZE + 1
    assert max(sides) > 0.36 * SIZE
    assert np.mean(sides) < 0.25 * SIZE


ALL = {"rotation": 30, "scale": 0.3, "shift": 0.2, "flip": 0.5, "gamma": 0.8, "contrast": 0.9}
ALL |= {"brightness": 0.5, "noise": 0.3, "erasing": 0.5}


def test_everything_at_once_stays_a_grey_level_and_does_not_change_the_input():
    images = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    before = images.clone()
    result = run(images, **ALL)
    assert result.dtype == torch.float32
    assert result.shape == images.shape
    assert result.min() == 0  # such strong noise reaches both ends
    assert result.max() == 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", list(ALL))
def test_each_image_of_a_batch_has_its_own_draw(name):
    images = run(waves()[:8], **{name: ALL[name]})
    different = {image.numpy().tobytes() for image in images}
    assert len(different) == (2 if name == "flip" else 8)


def test_the_generator_is_the_only_randomness():
    torch.manual_seed(1)
    first = run(waves()[:4], seed=3, **ALL)
    torch.manual_seed(2)
    assert torch.equal(run(waves()[:4], seed=3, **ALL), first)
    assert not torch.equal(run(waves()[:4], seed=4, **ALL), first)


def test_crop_keeps_its_fraction_and_stays_inside_the_image():
    """On an image whose grey level is its column (or row), a crop is a straight line: its slope is the side
    of the crop, its middle the location of the crop's centre."""
    axis = (torch.arange(SIZE) + 0.5) / SIZE
    inner = slice(2, -2)  # the border is filled with its own level

    def line(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        values = images[:, inner].numpy()
        slope = (values[:, -1] - values[:, 0]) / float(axis[inner][-1] - axis[inner][0])
        return slope, values.mean(axis=1) - 0.5

    across = run(axis.expand(COUNT, 1, SIZE, SIZE), crop=0.5)
    down = run(axis.unsqueeze(1).expand(COUNT, 1, SIZE, SIZE), crop=0.5)
    side, right = line(across[:, 0, 10])
    side_too, low = line(down[:, 0, :, 10])
    np.testing.assert_allclose(side, side_too, atol=1e-3)  # square
    assert side.min() == pytest.approx(math.sqrt(0.5), abs=0.01)
    assert side.max() == pytest.approx(1, abs=0.01)
    assert np.mean(side**2) == pytest.approx(0.75, abs=0.02)  # the fraction is uniform
    for offset in (right, low):
        assert np.all(abs(offset) <= (1 - side) / 2 + 2e-3)
        assert_fills(offset / np.maximum((1 - side) / 2, 0.02), 1, 0.1)
