"""The sanity checks tell maps apart that differ, and random weights are random and nothing else."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from cxr.evaluation.sanity import randomised, similarity
from tests.builders import small_classifier


def maps(seed: int, count: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 16, 16), dtype=np.float32)


def test_equal_maps_are_alike_and_others_are_not():
    a = maps(0)
    assert similarity(a, a) == pytest.approx({"pairs": 6, "empty": 0, "rank_correlation": 1, "ssim": 1})
    inverted = similarity(a, 1 - a)
    assert inverted["rank_correlation"] == pytest.approx(-1)
    assert inverted["ssim"] < 0
    unrelated = similarity(a, maps(1))
    assert abs(unrelated["rank_correlation"]) < 0.1
    assert abs(unrelated["ssim"]) < 0.1


def test_rank_correlation_is_that_of_mean_ranks():
    """As many places of a map are 0, most ranks are shared."""
    a, b = maps(0), maps(1)
    a[a < 0.5], b[b < 0.3] = 0, 0
    expected = [
        np.corrcoef(rankdata(x.ravel()), rankdata(y.ravel()))[0, 1] for x, y in zip(a, b, strict=True)
    ]
    assert similarity(a, b)["rank_correlation"] == pytest.approx(np.mean(expected))


def test_empty_maps_do_not_count():
    a, b = maps(0), maps(0)
    b[:2] = 0
    assert similarity(a, b) == pytest.approx({"pairs": 4, "empty": 2 / 6, "rank_correlation": 1, "ssim": 1})
    assert similarity(a, np.zeros_like(a)) == {"pairs": 0, "empty": 1}


@pytest.mark.parametrize("part", ["head", "all"])
def test_only_the_part_is_random(part):
    model = small_classifier(seed=9)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    drawn, again, other = (randomised(model, part, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not drawn.training
    found, same, different = (each.state_dict() for each in (drawn, again, other))
    assert all(torch.equal(value, same[key]) for key, value in found.items())
    for key, value in found.items():
        if key.endswith("head.weight"):
            assert not torch.equal(value, before[key])
            assert not torch.equal(value, different[key])
        elif ".base." in key and part == "head":
            assert torch.equal(value, before[key]), key
    convolution = "members.0.base.block1.0.weight"
    assert torch.equal(found[convolution], before[convolution]) == (part == "head")
    assert not torch.equal(found["members.0.head.weight"], found["members.1.head.weight"])
