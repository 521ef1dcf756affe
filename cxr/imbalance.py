"""What is done about classes of unequal size: weights, or sub-classes in place of large classes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Targets:
    """What the network is trained to tell apart.

    outputs: names of the K logits. classes: (K,) the class index each belongs to.
    labels: (n,) int64 in 0..K-1. weights: (K,) float32 loss weights, mean 1 over the n films.
    """

    outputs: list[str]
    classes: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def make_targets(strategy: str, labels: np.ndarray, classes: list[str], subclasses: list[str]) -> Targets:
    """labels: (n,) int of the training films; subclasses: their n names, a refinement of the classes."""
    if strategy in ("decompose", "both"):
        owner = dict(zip(subclasses, labels.tolist(), strict=True))
        outputs = sorted(owner, key=lambda name: (owner[name], name))
        fine = np.array([outputs.index(name) for name in subclasses], dtype=np.int64)
        of_output = np.array([owner[name] for name in outputs], dtype=np.int64)
    else:
        outputs, fine, of_output = classes, labels.astype(np.int64), np.arange(len(classes))
    weighted = strategy in ("class_weights", "both")
    weights = balanced_weights(fine, len(outputs)) if weighted else np.ones(len(outputs), np.float32)
    return Targets(outputs, of_output, fine, weights)


def balanced_weights(labels: np.ndarray, count: int) -> np.ndarray:
    """(count,) float32: n / (count * n_c) for each class c, scikit-learn's "balanced" (King & Zeng, 2001)."""
    sizes = np.bincount(labels, minlength=count)
    return (len(labels) / (count * sizes)).astype(np.float32)
