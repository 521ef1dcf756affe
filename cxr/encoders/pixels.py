"""The encoder `pixels`: principal components of standardised pixels, which needs no weights."""

import numpy as np
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from cxr.errors import UserError


def embed_pixels(images: np.ndarray, train: np.ndarray, dimensions: int) -> np.ndarray:
    """Principal components of standardised pixels.

    images: (N, H, W) uint8. train: row numbers on which means, deviations and components are fitted, so
    that nothing is learnt from val or test. Returns (N, dimensions) float32.
    Raises `UserError` if there are fewer pixels or training rows than `dimensions`.
    """
    flat = images.reshape(len(images), -1)
    most = min(len(train), flat.shape[1])
    if dimensions > most:
        raise UserError(
            f"params.yaml: clip_embed.dimensions is {dimensions}; these pictures allow at most {most}"
        )
    with threadpool_limits(1):  # more threads add up in another order, and the bytes would follow the machine
        pixels = flat.astype(np.float32)
        mean, deviation = pixels[train].mean(axis=0), pixels[train].std(axis=0)
        pixels -= mean
        pixels /= np.where(deviation > 0, deviation, 1)  # a pixel that never changes, such as a black corner
        solver = PCA(
            dimensions,
            svd_solver="covariance_eigh" if flat.shape[1] <= 4096 else "randomized",
            random_state=0,
        )
        solver.fit(pixels[train])
        return solver.transform(pixels).astype(np.float32)
