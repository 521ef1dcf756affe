"""The outputs of the networks and the loss, with all methods against class imbalance.

class_weights     weighted cross-entropy (King & Zeng, 2001)
sampler           each class is drawn with equal probability, with replacement
focal             focal loss (Lin et al., 2017, https://arxiv.org/abs/1708.02002)
logit_adjustment  the log of the class frequency is added to the logits in training (Menon et al., 2021,
                  https://arxiv.org/abs/2007.07314)
decompose         sub-classes in place of classes (Vilalta & Rish, 2003); both: with class weights
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from cxr.core.dataset import LABELS, Dataset
from cxr.core.errors import UserError
from cxr.core.files import read_csv
from cxr.models.network import binary_to_two_logits
from cxr.params import Imbalance

SUBCLASSES = Path("data/subclasses.csv")


@dataclass(frozen=True)
class Targets:
    """The outputs of a network, the labels of n training images among them, and the settings of the loss.

    outputs: names of the K outputs. classes: (K,) int64, for each output the index of its class. labels: (n,)
    int64 in 0..K-1. weights: (K,) float32 loss weights. offsets: (K,) float32, added to the logits in the
    loss. gamma: the exponent of the focal loss; 0 is cross-entropy. sampling: (n,) float64, the probability
    to draw each image, or None where each image is drawn once in an epoch.
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
        """(classes,) float64: the class prevalence that a network trained on these targets assumes.

        Loss weights, sampling and logit adjustment change the weight of each image; sub-classes are summed.
        """
        drawn = np.ones(len(self.labels)) if self.sampling is None else self.sampling
        weights = np.bincount(self.labels, drawn, minlength=len(self.outputs)) * self.weights
        # The offsets are added to the logits in training alone.
        weights = weights / np.exp(self.offsets)
        class_totals = np.bincount(self.classes, weights)
        return class_totals / class_totals.sum()


@dataclass(frozen=True)
class Subclasses:
    """Of n training images: names, the sub-class of each; conflicting: (n,) bool, whether its class is not
    what exposure, contrast and framing suggest (see `cxr.evaluation.acquisition`)."""

    names: list[str]
    conflicting: np.ndarray

    @classmethod
    def named(cls, names: list[str]) -> "Subclasses":
        """None of the images is conflicting."""
        return cls(names, np.zeros(len(names), dtype=bool))


def load_subclasses(data: Dataset) -> Subclasses:
    """In the order of `data.rows("train")`.

    Raises `UserError` if the file was written for other training images, or by an older stage `cluster`.
    """
    table = read_csv(SUBCLASSES)
    rows = [str(row) for row in data.rows("train")]
    if [row.get("row") for row in table] != rows or any("conflicting" not in row for row in table):
        raise UserError(
            f"{SUBCLASSES}: its column row does not list the training images of {LABELS}, or the column "
            "conflicting is missing; write it anew with `dvc repro cluster`"
        )
    return Subclasses(
        [row["subclass"] for row in table], np.array([row["conflicting"] == "1" for row in table], dtype=bool)
    )


def make_targets(
    settings: Imbalance, labels: np.ndarray, classes: list[str], subclasses: Subclasses
) -> Targets:
    """The targets under `settings`. labels: (n,) int, indices into `classes`, of the training images.
    subclasses: of these images; a sub-class belongs to one class.

    Raises `UserError` if explicit class weights are not as many as there are outputs.
    """
    strategy = settings.strategy
    if strategy in ("decompose", "both"):
        class_of = dict(zip(subclasses.names, labels.tolist(), strict=True))
        outputs = sorted(class_of, key=lambda name: (class_of[name], name))
        output_labels = np.array([outputs.index(name) for name in subclasses.names], dtype=np.int64)
        output_classes = np.array([class_of[name] for name in outputs], dtype=np.int64)
    else:
        outputs, output_labels = classes, labels.astype(np.int64)
        output_classes = np.arange(len(classes))
    sizes = np.bincount(output_labels, minlength=len(outputs))
    weighted = strategy in ("class_weights", "both")
    adjusted = strategy == "logit_adjustment"
    return Targets(
        outputs=outputs,
        classes=output_classes,
        labels=output_labels,
        weights=class_weights(settings, sizes, outputs) if weighted else np.ones(len(outputs), np.float32),
        offsets=np.log(sizes / sizes.sum() if adjusted else np.ones(len(outputs))).astype(np.float32),
        gamma=settings.focal_gamma if strategy == "focal" else 0.0,
        sampling=sampling(settings, sizes[output_labels], subclasses.conflicting),
    )


def sampling(settings: Imbalance, of_output: np.ndarray, conflicting: np.ndarray) -> np.ndarray | None:
    """(n,) float64 with sum 1, the probability to draw each training image; None: each is drawn once in an
    epoch.

    of_output: (n,) int, the number of images of its output. Conflicting images are drawn
    `settings.conflicting` times as often as others of their output (after Just Train Twice, Liu et al., 2021,
    https://arxiv.org/abs/2107.09044, whose first training finds them).
    """
    if settings.strategy != "sampler" and settings.conflicting == 1:
        return None
    weights = 1 / of_output if settings.strategy == "sampler" else np.ones(len(of_output))
    weights = weights * np.where(conflicting, settings.conflicting, 1.0)
    return weights / weights.sum()


def class_weights(settings: Imbalance, sizes: np.ndarray, outputs: list[str]) -> np.ndarray:
    """(K,) float32 loss weights. sizes: (K,) int, the number of images n_c of each output.

    "balanced": n / (K * n_c), as in scikit-learn; "inverse": 1 / n_c divided by the mean of these; or
    explicit. Raises `UserError` if explicit weights are not as many as there are outputs.
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
    """The mean over images, weighted by `weights[label]` as in `torch.nn.functional.cross_entropy`.

    logits: (N, K) float32, or (N, 1) for two classes. labels: (N,) int64. weights, offsets: (K,) float32;
    the offsets are added to the logits. gamma above 0 multiplies each image's loss by (1 - p_label) ** gamma
    (Lin et al., 2017, https://arxiv.org/abs/1708.02002).
    """
    logits = binary_to_two_logits(logits) + offsets
    if not gamma:
        return F.cross_entropy(logits, labels, weights, label_smoothing=label_smoothing)
    # Unweighted here, so that the weighted mean divides by the sum of the weights as above.
    losses = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    p = logits.softmax(dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)
    image_weights = weights[labels]
    return ((1 - p) ** gamma * losses * image_weights).sum() / image_weights.sum()
