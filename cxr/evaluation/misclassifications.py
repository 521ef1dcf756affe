"""Which images are misclassified: the most frequent error, and the most confident errors of each kind."""

import numpy as np

from cxr.evaluation.metrics import confusion

FEWEST = 4  # images of each kind of error that are selected, where there are as many


def most_frequent_error(labels: np.ndarray, decisions: np.ndarray, classes: list[str]) -> str:
    """The most frequent misclassification, in words. labels, decisions: (N,) int."""
    errors = confusion(labels, decisions, len(classes))
    images = errors.sum(axis=1)
    np.fill_diagonal(errors, 0)
    if not errors.any():
        return "no radiograph is misclassified"
    truth, decision = divmod(int(errors.argmax()), len(classes))
    count = f"{errors[truth, decision]:,} of {images[truth]:,} radiographs"
    return f"{classes[truth]} misclassified as {classes[decision]}: {count}"


def most_confident_errors(
    labels: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray, most: int
) -> dict[tuple[int, int], tuple[int, np.ndarray]]:
    """For each kind of error that occurs, (true class, decision): how many there are, and the positions of
    the most confident ones, most confident first.

    labels, decisions: (N,) int. probabilities: (N, classes) float. most: so many positions over all kinds,
    divided equally among them, but at least `FEWEST` of each.
    """
    confidence = probabilities[np.arange(len(labels)), decisions]
    kinds = sorted({(int(t), int(d)) for t, d in zip(labels, decisions, strict=True) if t != d})
    errors = {}
    for truth, decision in kinds:
        positions = np.flatnonzero((labels == truth) & (decisions == decision))
        ranked = positions[np.argsort(-confidence[positions], kind="stable")]
        errors[truth, decision] = (len(positions), ranked[: max(FEWEST, most // len(kinds))])
    return errors
