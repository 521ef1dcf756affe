"""Do maps depend on what they claim to explain? One that stays the same with random weights explains nothing.

After Adebayo et al., 2018, "Sanity checks for saliency maps", https://arxiv.org/abs/1810.03292.
"""

import copy

import numpy as np
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from cxr.models.classifier import Classifier, build_member
from cxr.models.network import Network


def randomised(classifier: Classifier, part: str, seed: int) -> Classifier:
    """A copy whose weights are drawn anew, in every member: of its "head", or "all". These are the first and
    the last step of the paper's cascade."""
    copied = copy.deepcopy(classifier)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for i, trained in enumerate(copied.members):
            fresh = build_member(copied.spec)
            if part == "head":
                assert isinstance(trained, Network)  # a ModuleList does not know what it holds
                fresh.base.load_state_dict(trained.base.state_dict())
            copied.members[i] = fresh
    return copied.eval()


def similarity(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """How alike maps are, in the mean over pairs: Spearman's rank correlation and SSIM (Wang et al., 2004,
    https://doi.org/10.1109/TIP.2003.819861), both 1 for equal maps.

    a, b: (N, H, W) float32 in [0, 1], H and W 7 or more. A pair counts if neither map is the same all over,
    since such a map has no ranks. `pairs`: how many count; with none there are no means. `empty`: the share
    of the maps `b` that are 0 all over.
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
