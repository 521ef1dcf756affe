"""What the networks are trained to tell apart, and the loss: all that is done about classes of unequal size.

class_weights     weighted cross-entropy (King & Zeng, 2001)
sampler           each class is drawn equally often, with replacement
focal             focal loss (Lin et al., 2017, https://arxiv.org/abs/1708.02002)
logit_adjustment  the log of the class frequency is added to the logits while training (Menon et al., 2021,
                  https://arxiv.org/abs/2007.07314)
decompose         sub-classes in place of classes (Vilalta & Rish, 2003); both: with class weights
"""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from cxr.core.errors import UserError
from cxr.models.network import binary_to_two_logits
from cxr.params import Imbalance


@dataclass(frozen=True)
class Targets:
    """What the network is trained to tell apart, and how the loss sees it.

    outputs: names of the K outputs. classes: (K,) the class index each belongs to.
    labels: (n,) int64 in 0..K-1. weights: (K,) float32 loss weights. offsets: (K,) float32 added to the
    logits in the loss. gamma: the exponent of the focal loss, 0 is cross-entropy. sampling: (n,) float64
    chance of each image to be drawn, or None where an epoch shows each image once.
    """

    outputs: list[str]
    classes: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    gamma: float = 0.0
    sampling: np.ndarray | None = None

    @property
    def prior(self) -> np.ndarray:
        """(classes,) float64: the class prevalence that a network trained on these targets takes for granted.

        Weights, sampling and logit adjustment change how much each image counts; sub-classes are summed.
        """
        drawn = np.ones(len(self.labels)) if self.sampling is None else self.sampling
        counts = np.bincount(self.labels, drawn, minlength=len(self.outputs)) * self.weights
        # What is added to the logits in training is missing afterwards.
        counts = counts / np.exp(self.offsets)
        of_class = np.bincount(self.classes, counts)
        return of_class / of_class.sum()


def make_targets(
    settings: Imbalance, labels: np.ndarray, classes: list[str], subclasses: list[str]
) -> Targets:
    """labels: (n,) int of the training images; subclasses: their n names, a refinement of the classes.

    Raises `UserError` if explicit class weights are not as many as there are outputs.
    """
    strategy = settings.strategy
    if strategy in ("decompose", "both"):
        owner = dict(zip(subclasses, labels.tolist(), strict=True))
        outputs = sorted(owner, key=lambda name: (owner[name], name))
        fine = np.array([outputs.index(name) for name in subclasses], dtype=np.int64)
        of_output = np.array([owner[name] for name in outputs], dtype=np.int64)
    else:
        outputs, fine, of_output = classes, labels.astype(np.int64), np.arange(len(classes))
    sizes = np.bincount(fine, minlength=len(outputs))
    weighted = strategy in ("class_weights", "both")
    adjusted = strategy == "logit_adjustment"
    return Targets(
        outputs=outputs,
        classes=of_output,
        labels=fine,
        weights=class_weights(settings, sizes, outputs) if weighted else np.ones(len(outputs), np.float32),
        offsets=np.log(sizes / sizes.sum() if adjusted else np.ones(len(outputs))).astype(np.float32),
        gamma=settings.focal_gamma if strategy == "focal" else 0.0,
        sampling=1 / (len(outputs) * sizes[fine]) if strategy == "sampler" else None,
    )


def class_weights(settings: Imbalance, sizes: np.ndarray, outputs: list[str]) -> np.ndarray:
    """(K,) float32. sizes: (K,) images of each output.

    "balanced": n / (K * n_c), as scikit-learn's; "inverse": 1 / n_c over the mean of these.
    """
    rule = settings.class_weights
    if rule == "balanced":
        weights = sizes.sum() / (len(sizes) * sizes)
    elif rule == "inverse":
        weights = (1 / sizes) / (1 / sizes).mean()
    elif len(rule) == len(sizes):
        weights = np.array(rule)
    else:
        raise UserError(
            f"params.yaml: imbalance.class_weights has {len(rule)} numbers; give {len(sizes)}, "
            f"one for each of {', '.join(outputs)}"
        )
    return weights.astype(np.float32)


def classification_loss(
    logits: Tensor, labels: Tensor, weights: Tensor, offsets: Tensor, gamma: float, label_smoothing: float
) -> Tensor:
    """The mean over images, weighted by `weights[label]`, as `torch.nn.functional.cross_entropy` takes it.

    logits: (N, K) float32, or (N, 1) for two classes. labels: (N,) int64. weights, offsets: (K,) float32,
    the offsets are added to the logits. gamma above 0 multiplies each image's loss by (1 - p_label) ** gamma
    (Lin et al., 2017, https://arxiv.org/abs/1708.02002).
    """
    logits = binary_to_two_logits(logits) + offsets
    if not gamma:
        return F.cross_entropy(logits, labels, weights, label_smoothing=label_smoothing)
    # Unweighted for each image, so that the weights divide by their own sum as above.
    each = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    p = logits.softmax(dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)
    of_image = weights[labels]
    return ((1 - p) ** gamma * each * of_image).sum() / of_image.sum()
