"""The sanity checks distinguish different maps; a randomised classifier is new in the chosen part alone."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr
from skimage.metrics import structural_similarity

from cxr.core.probabilities import decide
from cxr.evaluation import sanity
from cxr.evaluation.sanity import contrasted_classes, randomised, sanity_check, similarity
from cxr.inference.gradcam import gradcam
from cxr.models.classifier import predict
from tests.builders import noise_images, small_classifier

CPU = torch.device("cpu")


def maps(seed: int, count: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 16, 16), dtype=np.float32)


def test_equal_maps_are_similar_and_others_are_not():
    a = maps(0)
    assert similarity(a, a) == pytest.approx({"pairs": 6, "empty": 0, "rank_correlation": 1, "ssim": 1})
    inverted = similarity(a, 1 - a)
    assert inverted["rank_correlation"] == pytest.approx(-1)
    assert inverted["ssim"] < 0
    unrelated = similarity(a, maps(1))
    assert abs(unrelated["rank_correlation"]) < 0.1
    assert abs(unrelated["ssim"]) < 0.1


def test_rank_correlation_is_that_of_mean_ranks():
    """Many pixels of a map are 0, so most ranks are tied."""
    a, b = maps(0), maps(1)
    a[a < 0.5], b[b < 0.3] = 0, 0
    expected = [
        np.corrcoef(rankdata(x.ravel()), rankdata(y.ravel()))[0, 1] for x, y in zip(a, b, strict=True)
    ]
    assert similarity(a, b)["rank_correlation"] == pytest.approx(np.mean(expected))


def test_empty_maps_are_not_compared():
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
    first, same, different = (copied.state_dict() for copied in (drawn, again, other))
    assert all(torch.equal(value, same[key]) for key, value in first.items())
    for key, value in first.items():
        if key.endswith("head.weight"):
            assert not torch.equal(value, before[key])
            assert not torch.equal(value, different[key])
        elif ".base." in key and part == "head":
            assert torch.equal(value, before[key]), key
    convolution = "members.0.base.block1.0.weight"
    assert torch.equal(first[convolution], before[convolution]) == (part == "head")
    assert not torch.equal(first["members.0.head.weight"], first["members.1.head.weight"])


def test_other_class_is_the_true_one_or_the_most_probable_besides_the_decision():
    p = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    decisions, labels = np.array([0, 0, 2, 1, 1]), np.array([2, 0, 2, 0, 1])
    assert contrasted_classes(labels, p, decisions).tolist() == [2, 1, 1, 0, 0]


def test_each_entry_compares_the_decisions_maps_with_those_of_its_name():
    model, images = small_classifier(), noise_images(12)
    labels = np.arange(12) % 2
    p = predict(model, images, CPU).mean
    decisions = decide(p, 0.3)
    assert (decisions != p.argmax(axis=1)).any()
    report = sanity_check(model, images, labels, p, decisions, CPU)
    maps = gradcam(model, images, decisions, CPU)
    assert report["images"] == 12
    assert report["empty"] == np.mean([not one.any() for one in maps])
    for name, part in (("other_class", None), ("random_head", "head"), ("random_weights", "all")):
        against = (
            [gradcam(randomised(model, part, seed), images, decisions, CPU) for seed in range(sanity.DRAWS)]
            if part
            else [gradcam(model, images, 1 - decisions, CPU)]
        )
        pairs = [pair for others in against for pair in zip(maps, others, strict=True)]
        pairs = [(a, b) for a, b in pairs if np.ptp(a) and np.ptp(b)]
        assert report[name]["pairs"] == len(pairs) > 0
        correlations = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs]
        assert report[name]["rank_correlation"] == pytest.approx(np.mean(correlations), abs=1e-3)
        ssims = [structural_similarity(a, b, data_range=1.0) for a, b in pairs]
        assert report[name]["ssim"] == pytest.approx(np.mean(ssims), abs=1e-3)
    values = [report[name]["rank_correlation"] for name in ("other_class", "random_head", "random_weights")]
    assert len({round(value, 2) for value in values}) == 3
