"""The encoder `pixels`: principal component analysis of standardised pixels, which needs no weights."""

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from cxr.core.errors import UserError


@dataclass(frozen=True)
class Components:
    """mean, deviation: (H * W,) float32, mean and standard deviation of each pixel. solver: fitted to the
    standardised pixels."""

    mean: np.ndarray
    deviation: np.ndarray
    solver: PCA

    def transform(self, images: np.ndarray) -> np.ndarray:
        """images: (N, H, W) uint8. Returns (N, dimensions) float32.

        Raises `UserError` if the images have another size than those that were fitted.
        """
        pixels = flat(images)
        if pixels.shape[1] != len(self.mean):
            raise UserError(
                f"images have {pixels.shape[1]} pixels, the encoder pixels was fitted to {len(self.mean)}"
            )
        with threadpool_limits(1):
            return self.solver.transform(standardised(pixels, self.mean, self.deviation)).astype(np.float32)


def fit_components(images: np.ndarray, dimensions: int) -> Components:
    """Means, standard deviations and principal components of `images`, (N, H, W) uint8: of training images
    alone, so that nothing is fitted to val or test. The same images give the same bytes.

    Raises `UserError` if there are fewer pixels or images than `dimensions`.
    """
    pixels = flat(images)
    most = min(pixels.shape)
    if dimensions > most:
        raise UserError(
            f"params.yaml: clip_embed.dimensions is {dimensions}; these images allow at most {most}"
        )
    solver = PCA(
        dimensions, svd_solver="covariance_eigh" if pixels.shape[1] <= 4096 else "randomized", random_state=0
    )
    with threadpool_limits(1):  # more threads sum in another order, and bytes would depend on the machine
        mean, deviation = pixels.mean(axis=0), pixels.std(axis=0)
        return Components(mean, deviation, solver.fit(standardised(pixels, mean, deviation)))


def flat(images: np.ndarray) -> np.ndarray:
    """(N, H, W) uint8 to (N, H * W) float32, a copy."""
    return images.reshape(len(images), -1).astype(np.float32)


def standardised(pixels: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """`pixels`, (N, H * W) float32, changed in place. mean, deviation: (H * W,)."""
    pixels -= mean
    pixels /= np.where(deviation > 0, deviation, 1)  # a pixel that never changes, such as a black corner
    return pixels
