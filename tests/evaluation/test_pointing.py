"""Both pointing games on maps whose result is known, and their chance levels by simulation."""

import numpy as np
import pytest
import torch

from cxr.evaluation.pointing import point_at_opacities, pointing, tolerance
from cxr.inference.gradcam import gradcam
from tests.builders import noise_images, small_classifier


def spot(count: int, row: int, column: int, side: int = 28) -> np.ndarray:
    maps = np.zeros((count, side, side), np.float32)
    maps[:, row, column] = 1
    return maps


def rectangle(count: int, rows: slice, columns: slice, side: int = 28) -> np.ndarray:
    masks = np.zeros((count, side, side), bool)
    masks[:, rows, columns] = True
    return masks


@pytest.mark.parametrize(("side", "pixels"), [(16, 0), (28, 1), (64, 2), (224, 7), (500, 15)])
def test_the_tolerance_is_that_of_the_paper(side, pixels):
    assert tolerance(side) == pixels


def test_a_map_with_one_bright_corner_hits_that_corner_alone():
    upper_right = rectangle(4, slice(0, 3), slice(25, 28))
    for row, column in ((0, 0), (0, 27), (27, 0), (27, 27)):
        game = pointing(spot(4, row, column), upper_right, 50)
        expected = float((row, column) == (0, 27))
        assert game["hit"]["value"] == game["energy"]["value"] == expected


@pytest.mark.parametrize(("row", "hit"), [(8, 0), (9, 1), (10, 1), (14, 1), (15, 1), (16, 0)])
def test_a_hit_may_miss_by_the_tolerance_and_energy_may_not(row, hit):
    game = pointing(spot(3, row, 12), rectangle(3, slice(10, 15), slice(10, 15)), 50)
    assert game["hit"]["value"] == hit
    assert game["energy"]["value"] == (10 <= row < 15)


def test_diagonal_neighbours_are_further_than_one_pixel():
    assert pointing(spot(2, 9, 9), rectangle(2, slice(10, 15), slice(10, 15)), 50)["hit"]["value"] == 0


def test_energy_is_the_proportion_of_the_heat_whatever_its_scale():
    maps = np.ones((2, 28, 28), np.float32) * np.array([0.1, 7])[:, None, None]
    maps[:, :14] *= 3
    game = pointing(maps, rectangle(2, slice(0, 14), slice(0, 28)), 50)
    assert game["energy"]["value"] == pytest.approx(0.75)
    assert game["energy"]["uniform"] == 0.5


def test_equal_maxima_count_in_part_and_an_empty_map_misses():
    maps = spot(4, 2, 2) + spot(4, 20, 20)
    maps[3] = 0
    game = pointing(maps, rectangle(4, slice(0, 5), slice(0, 5)), 50)
    assert game["empty"] == 0.25
    assert game["hit"]["value"] == game["energy"]["value"] == pytest.approx(3 / 8)


def test_chance_levels_are_those_of_a_simulation():
    generator = np.random.default_rng(0)
    count, side = 40, 28
    maps = generator.random((count, side, side)) ** 20
    maps[:, 8:20, 8:20] *= 1.3  # a preference for the middle
    corners = generator.integers(0, 22, (count, 2))
    masks = np.stack([rectangle(1, slice(r, r + 6), slice(c, c + 6))[0] for r, c in corners])
    game = pointing(maps, masks, 50)

    at = generator.integers(0, side, (4000, count, 2))
    steps = np.array([(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)])

    def near(i: int, row: int, column: int) -> bool:
        around = [(row + dy, column + dx) for dy, dx in steps]
        return any(masks[i, y, x] for y, x in around if 0 <= y < side and 0 <= x < side)

    random_hits = np.mean([near(i, *at[draw, i]) for draw in range(400) for i in range(count)])
    assert game["hit"]["uniform"] == pytest.approx(random_hits, abs=0.01)
    assert game["energy"]["uniform"] == masks.mean()
    peaks = [np.unravel_index(one.argmax(), one.shape) for one in maps]
    others = [near(i, *peaks[j]) for i in range(count) for j in range(count) if i != j]
    assert game["hit"]["shuffled"] == pytest.approx(np.mean(others))
    heat = [(maps[j] * masks[i]).sum() / maps[j].sum() for i in range(count) for j in range(count) if i != j]
    assert game["energy"]["shuffled"] == pytest.approx(np.mean(heat))


def test_the_interval_is_that_of_the_mean_over_images():
    generator = np.random.default_rng(1)
    maps = generator.random((200, 28, 28)) ** 8
    masks = generator.random((200, 28, 28)) < generator.random((200, 1, 1))
    game = pointing(maps, masks, 2000)
    inside = (maps * masks).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    half = 1.96 * inside.std() / np.sqrt(200)
    assert game["energy"]["value"] == pytest.approx(inside.mean())
    assert game["energy"]["low"] == pytest.approx(inside.mean() - half, abs=0.1 * half)
    assert game["energy"]["high"] == pytest.approx(inside.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize("masks", [rectangle(1, slice(0, 5), slice(0, 5)), np.zeros((2, 28, 28), bool)])
def test_one_image_or_an_image_without_opacity_is_an_error(masks):
    with pytest.raises(ValueError, match="two images or more, each with an opacity"):
        pointing(spot(len(masks), 0, 0), masks, 50)


def test_only_images_with_a_visible_opacity_count_with_the_map_of_their_class():
    images, labels = noise_images(5), np.array([0, 1, 1, 0, 1])
    opacities = np.zeros((5, 16, 16), np.uint8)
    opacities[1, 2:6, 2:6], opacities[2, :8, 8:], opacities[4] = 10, 200, 9  # the last is not visible
    model, cpu = small_classifier(), torch.device("cpu")
    game = point_at_opacities(model, images, labels, opacities, 50, cpu)
    expected = pointing(gradcam(model, images[1:3], np.ones(2, int), cpu), opacities[1:3] > 0, 50)
    assert game == expected
    assert game["images"] == 2
    # With patients: those of the images that are shown.
    patients = np.array([7, 3, 3, 7, 9])
    expected = pointing(
        *(gradcam(model, images[1:3], np.ones(2, int), cpu), opacities[1:3] > 0, 50),
        patients=np.zeros(2, int),
    )
    assert point_at_opacities(model, images, labels, opacities, 50, cpu, patients) == expected
    opacities[2] = 0
    assert point_at_opacities(model, images, labels, opacities, 50, cpu) is None
