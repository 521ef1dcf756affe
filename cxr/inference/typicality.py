"""Typicality: whether an image is like the training images, as a conformal p-value from val.

`cxr.inference.typicality_model` measures how far an image is from the training images, in two ways: in its
pixels and in the classifier's features. Here these distances become p-values, without PyTorch.

The p-value is that of conformal anomaly detection (Laxhammar & Falkman, 2010,
https://doi.org/10.1145/1833280.1833281; inductive: Vovk et al., 2005, https://doi.org/10.1007/b106715): the
proportion of val images, the image itself counted in, that are at least as far. Of images drawn from the same
population as val 5 % have one below 0.05, of another population more. It is not conditional on a class, which
is unknown for a new image. With fewer than 20 val images no p-value is below 0.05.
"""

from typing import NamedTuple

import numpy as np

LIMIT = 0.05  # below, an image is marked as unlike the training images
PARTS = ("pixels", "features")
BATCH = 256  # images compared with val at a time; it bounds the memory
UNLIKE = "unlike the training images"
REASONS = {
    "pixels": "low correlation of its pixels with the average training images",
    "features": "large distance of its features from those of the training images",
}


class Typicality(NamedTuple):
    """Of one image. p_value: above 0, at most 1. parts: those of `PARTS` whose own p-value is below `LIMIT`,
    of an image that is unlike the training images; else none."""

    p_value: float
    parts: tuple[str, ...]

    @property
    def unlike(self) -> bool:
        return self.p_value < LIMIT

    @property
    def reason(self) -> str | None:
        """Why the image is unlike the training images, None if it is not."""
        return "; ".join(REASONS[part] for part in self.parts) or None

    def to_json(self) -> dict[str, object]:
        return {
            "typicality": round(self.p_value, 6),
            "unlike": self.unlike,
            "unlike_reason": self.reason,
        }


class ValDistances:
    """The distances of the val images, with which those of other images are compared.

    What does not depend on the other images is computed once: it takes longer than the comparison.
    """

    def __init__(self, distances: np.ndarray) -> None:
        """distances: (n, parts) float32 of `typicality_model`; n at least 1."""
        self._distances, self._sorted = distances, np.sort(distances, axis=0)
        self._of_val = self._at_least_as_far(distances)

    def p_values(self, distances: np.ndarray) -> np.ndarray:
        """(N, 1 + parts) float64: the p-value of each image, then that of each of the `PARTS` alone.

        distances: (N, parts) float32, of `typicality_model`.

        The p-value of a part is (1 + the number of val images at least as far) / (n + 1). The smaller one of
        an image is compared with the smaller ones of the val images in the same way, so that no correction
        for two parts is needed, and each part marks about as many val images as the other. Among the image
        and the val images together each counts those at least as far, itself too: exactly valid, not only
        for large n.
        """
        of_parts = self._at_least_as_far(distances) + 1
        combined = []
        for start in range(0, len(distances), BATCH):
            batch = slice(start, start + BATCH)
            with_image = self._of_val + (distances[batch, None] >= self._distances)  # (batch, n, parts)
            smallest = of_parts[batch].min(axis=1, keepdims=True)
            combined.append(1 + (with_image.min(axis=2) <= smallest).sum(axis=1))
        return np.column_stack([np.concatenate(combined), of_parts]) / (len(self._distances) + 1)

    def typicality(self, distances: np.ndarray) -> list[Typicality]:
        """Of each image. distances: see `p_values`."""
        marks = []
        for combined, *of_parts in self.p_values(distances).tolist():
            low = tuple(part for part, p in zip(PARTS, of_parts, strict=True) if p < LIMIT)
            marks.append(Typicality(combined, low if combined < LIMIT else ()))
        return marks

    def _at_least_as_far(self, distances: np.ndarray) -> np.ndarray:
        """(N, parts) int: the number of val images."""
        nearer = [
            np.searchsorted(of_val, of_image)
            for of_image, of_val in zip(distances.T, self._sorted.T, strict=True)
        ]
        return len(self._sorted) - np.stack(nearer, axis=1)
