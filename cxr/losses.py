"""The training loss: weighted, smoothed cross-entropy, or its focal form."""

import torch
import torch.nn.functional as F
from torch import Tensor


def two_sided(logits: Tensor) -> Tensor:
    """(..., outputs) logits of a softmax; a single logit z becomes (0, z), whose softmax is the sigmoid of z.

    So binary cross-entropy with one logit is cross-entropy of (0, z), with the same weights and smoothing.
    """
    return torch.cat([torch.zeros_like(logits), logits], dim=-1) if logits.shape[-1] == 1 else logits


def classification_loss(
    logits: Tensor, labels: Tensor, weights: Tensor, offsets: Tensor, gamma: float, label_smoothing: float
) -> Tensor:
    """The mean over films, weighted by `weights[label]`, as `torch.nn.functional.cross_entropy` takes it.

    logits: (N, K) float32, or (N, 1) for two classes. labels: (N,) int64. weights, offsets: (K,) float32,
    the offsets are added to the logits. gamma above 0 multiplies each film's loss by (1 - p_label) ** gamma
    (Lin et al., 2017, https://arxiv.org/abs/1708.02002).
    """
    logits = two_sided(logits) + offsets
    if not gamma:
        return F.cross_entropy(logits, labels, weights, label_smoothing=label_smoothing)
    # Unweighted for each film, so that the weights divide by their own sum as above.
    each = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    p = logits.softmax(dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)
    of_film = weights[labels]
    return ((1 - p) ** gamma * each * of_film).sum() / of_film.sum()
