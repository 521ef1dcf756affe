"""Sanity checks of class activation maps: one that is the same with random weights explains nothing.

After Adebayo et al., 2018, "Sanity checks for saliency maps", https://arxiv.org/abs/1810.03292.
"""

import copy
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from cxr.inference.gradcam import gradcam
from cxr.models.classifier import Classifier, build_member
from cxr.models.network import Network

IMAGES = 100  # drawn at random, whose maps are compared
DRAWS = 5  # of random weights: those of a single head may be similar to the trained ones by chance


def sanity_check(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    decisions: np.ndarray,
    device: torch.device,
) -> dict[str, Any]:
    """metrics/explain.json: how similar the maps of the decision are to those of the other class, and to
    those of the same networks with a new head and with new weights, for the same images drawn at random.

    images: (N, size, size) uint8. labels, decisions: (N,) int. probabilities: (N, classes) float. `empty`:
    the fraction of the maps of the decision that are 0 everywhere; the other entries are those of
    `similarity`.

    `other_class` proves little with two classes: one's logit is trained to be about the opposite of the
    other's, with a single logit it is exactly that, so that their maps have to differ. The evidence is
    `random_weights` near 0.
    """
    count = min(IMAGES, len(images))
    drawn = np.sort(np.random.default_rng(0).choice(len(images), count, replace=False))
    decided = decisions[drawn]
    others = contrasted_classes(labels[drawn], probabilities[drawn], decided)
    maps = gradcam(classifier, images[drawn], decided, device)
    compared = {"other_class": gradcam(classifier, images[drawn], others, device)}
    for name, part in (("random_head", "head"), ("random_weights", "all")):
        networks = [randomised(classifier, part, seed) for seed in range(DRAWS)]
        compared[name] = np.concatenate(
            [gradcam(network, images[drawn], decided, device) for network in networks]
        )
    return {
        "images": count,
        "empty": float((maps.max(axis=(1, 2)) == 0).mean()),
        **{
            name: similarity(np.tile(maps, (len(against) // count, 1, 1)), against)
            for name, against in compared.items()
        },
    }


def contrasted_classes(labels: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """(N,) int, the class to compare the decision with: the true one or, where the decision is correct, the
    most probable of the others. labels, decisions: (N,) int, probabilities: (N, classes)."""
    others = probabilities.copy()
    others[np.arange(len(decisions)), decisions] = -1
    return np.where(decisions == labels, others.argmax(axis=1), labels)


def randomised(classifier: Classifier, part: str, seed: int) -> Classifier:
    """A copy with newly initialised weights in every member: of its "head", or "all". These are the first and
    the last step of the paper's cascading randomisation."""
    copied = copy.deepcopy(classifier)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for i, trained in enumerate(copied.members):
            fresh = build_member(copied.spec)
            if part == "head":
                assert isinstance(trained, Network)  # a ModuleList does not declare the type of its modules
                fresh.base.load_state_dict(trained.base.state_dict())
            copied.members[i] = fresh
    return copied.eval()


def similarity(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """How similar maps are, in the mean over pairs: Spearman's rank correlation and SSIM (Wang et al., 2004,
    https://doi.org/10.1109/TIP.2003.819861), both 1 for equal maps.

    a, b: (N, H, W) float32 in [0, 1], H and W 7 or more. A pair counts if neither map is constant, since
    a constant map has no ranks. `pairs`: how many count; if none does, there are no means. `empty`: the
    fraction of the maps `b` that are 0 everywhere.
    """
    flat = np.stack([a, b]).reshape(2, len(a), -1)
    counted = np.flatnonzero((flat.max(axis=2) > flat.min(axis=2)).all(axis=0))
    counts = {"pairs": len(counted), "empty": float((flat[1].max(axis=1) == 0).mean())}
    if not len(counted):
        return counts
    return {
        **counts,
        "rank_correlation": float(np.mean([spearmanr(flat[0, i], flat[1, i]).statistic for i in counted])),
        "ssim": float(np.mean([structural_similarity(a[i], b[i], data_range=1.0) for i in counted])),
    }
