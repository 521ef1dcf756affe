"""How far images are from the training images, in their pixels and in the classifier's features.

pixels    1 - the highest Pearson correlation of the image, at 28 pixels a side or less, with one of 64
          average training images: the centroids of k-means. Brightness and contrast do not count, since they
          differ between devices. A blank image correlates with nothing.
features  the Mahalanobis distance of the classifier's embedding from the training images', with the
          covariance of probabilistic PCA (Tipping & Bishop, 1999, https://doi.org/10.1111/1467-9868.00196):
          the variance of 50 principal components, and one variance for all directions besides them.

The distance in the features alone does not notice all inverted images and photographs, and the more a
classifier is trained to ignore exposure, noise and blur, the less does it notice. Averages are kept, no
training image: of an exported file nobody can restore one. docs/typicality.md measures what is noticed.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cxr.core.errors import UserError
from cxr.core.files import atomic
from cxr.models.classifier import Classifier, Outputs, embed_images
from cxr.models.preprocess import to_grey

PATH = Path("models/typicality.safetensors")
SAMPLE = 5000  # training images, drawn at random, that are compared with; it bounds time and memory
SIDE, PROTOTYPES, COMPONENTS = 28, 64, 50
IMAGES_EACH = 20  # training images, at least, for each prototype and for each component
BATCH = 512
FLAT = 1 / 255  # standard deviation of a hardly visible contrast, added to each image's own
SMALLEST = 1e-6  # variance of a direction, as a proportion of that of all


class TypicalityModel(nn.Module):
    """rows: (s, size), rows @ image @ rows.T is the image at s pixels a side. prototypes: (k, s * s), average
    training images, each with mean 0 and norm 1. mean: (d,), components: (c, d), deviations: (c,), of the
    embedding's principal components. noise: (), standard deviation besides them. val: (n, 2), the distances
    of the val images. All float32."""

    rows: Tensor
    prototypes: Tensor
    mean: Tensor
    components: Tensor
    deviations: Tensor
    noise: Tensor
    val: Tensor

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for name in TypicalityModel.__annotations__:
            self.register_buffer(name, state[name])

    def forward(self, images: Tensor, embedding: Tensor) -> Tensor:
        """(N, 2) float32: the distances of `cxr.inference.typicality.PARTS`, 0 or more.

        images: (N, size, size) uint8. embedding: (N, d) float32, of `embed_images`.
        """
        standardised = standardise(self.rows @ to_grey(images).squeeze(1) @ self.rows.T)
        of_pixels = 1 - (standardised @ self.prototypes.T).amax(dim=1)
        offset = embedding - self.mean
        inside = offset @ self.components.T
        outside = (offset - inside @ self.components) / self.noise
        squared = (inside / self.deviations).square().sum(dim=1) + outside.square().sum(dim=1)
        return torch.stack([of_pixels, squared.sqrt()], dim=1)


def standardise(grey: Tensor) -> Tensor:
    """(N, s * s) from (N, s, s) in [0, 1]: each image with mean 0 and, unless it is blank, norm near 1, so
    that products of images are correlations."""
    centred = grey.flatten(1)
    centred = centred - centred.mean(dim=1, keepdim=True)
    deviation = centred.square().mean(dim=1, keepdim=True).sqrt()
    return centred / ((deviation + FLAT) * grey[0].numel() ** 0.5)


def fit_typicality(
    classifier: Classifier, train: np.ndarray, val: np.ndarray, device: torch.device
) -> TypicalityModel:
    """train, val: (N, size, size) uint8, two or more images of train and one or more of val."""
    if len(train) > SAMPLE:
        train = train[np.sort(np.random.default_rng(0).choice(len(train), SAMPLE, replace=False))]
    rows = shrinking_rows(classifier.spec.size)
    state = {"rows": rows, "val": torch.zeros(0, 2)}
    # Another number of threads sums in another order, and so gives other bytes.
    with threadpool_limits(1):
        pixels = standardise(rows @ to_grey(torch.from_numpy(np.array(train))).squeeze(1) @ rows.T)
        state |= _prototypes(pixels) | _distribution(embed_images(classifier, train, device))
    model = TypicalityModel(state)
    model.val = distances(model, val, embed_images(classifier, val, device))
    return model


def shrinking_rows(size: int) -> Tensor:
    """(min(28, size), size) float32: antialiased bilinear resizing of the lines of a (size, size) image."""
    return interpolate(
        torch.eye(size)[None, None], [min(SIDE, size), size], mode="bilinear", antialias=True
    ).squeeze()


def _prototypes(pixels: Tensor) -> dict[str, Tensor]:
    """pixels: (N, s * s) of `standardise`."""
    count = max(1, min(PROTOTYPES, len(pixels) // IMAGES_EACH))
    centroids = KMeans(count, n_init=3, random_state=0).fit(pixels.numpy()).cluster_centers_
    norms = np.linalg.norm(centroids, axis=1, keepdims=True)
    return {"prototypes": torch.from_numpy(centroids / np.maximum(norms, FLAT)).float()}


def _distribution(embedding: np.ndarray) -> dict[str, Tensor]:
    """embedding: (N, d) float32."""
    count = max(1, min(COMPONENTS, len(embedding) // IMAGES_EACH, embedding.shape[1] - 1))
    fitted = PCA(count, svd_solver="covariance_eigh").fit(embedding.astype(np.float64))
    total = embedding.var(axis=0, dtype=np.float64).sum()
    smallest = max(SMALLEST * total, np.finfo(np.float32).tiny)
    values = {
        "mean": fitted.mean_,
        "components": fitted.components_,
        "deviations": np.sqrt(np.maximum(fitted.explained_variance_, smallest)),
        "noise": np.sqrt(max(fitted.noise_variance_, smallest)),
    }
    return {name: torch.from_numpy(np.asarray(value)).float().contiguous() for name, value in values.items()}


@torch.no_grad()
def distances(model: TypicalityModel, images: np.ndarray, embedding: np.ndarray) -> Tensor:
    """(N, 2) float32 on the CPU. images: (N, size, size) uint8. embedding: (N, d) float32."""
    batches = [slice(start, start + BATCH) for start in range(0, len(images), BATCH)]
    parts = [
        model(torch.from_numpy(np.array(images[batch])), torch.from_numpy(embedding[batch]))
        for batch in batches
    ]
    return torch.cat(parts)


def measure(
    model: TypicalityModel, classifier: Classifier, images: np.ndarray, outputs: Outputs, device: torch.device
) -> np.ndarray:
    """(N, 2) float32: the distances of images whose `outputs` the classifier has predicted already.

    images: (N, size, size) uint8. Raises `UserError` if `model` was fitted to another classifier.
    """
    # `embed_images` leaves out the zoomed copies, which a prediction averages over.
    zoomed = classifier.spec.tta == "flip_zoom"
    embedding = embed_images(classifier, images, device) if zoomed else outputs.embeddings
    check(model, classifier.spec.size, embedding.shape[1])
    return distances(model, images, embedding).numpy()


def check(model: TypicalityModel, size: int, dimensions: int) -> None:
    if (model.rows.shape[1], len(model.mean)) != (size, dimensions):
        raise UserError(f"{PATH}: of another classifier; build it again with `dvc repro calibrate`")


def save_typicality(model: TypicalityModel) -> None:
    with atomic(PATH) as temporary:
        temporary.write_bytes(
            to_bytes({name: value.contiguous() for name, value in model.state_dict().items()})
        )


def load_typicality() -> TypicalityModel:
    """Raises `UserError` if it has not been built, or by other code."""
    if not PATH.is_file():
        raise UserError(f"{PATH}: no typicality here; build it with `dvc repro`, or fetch it with `dvc pull`")
    try:
        return TypicalityModel(load_file(PATH)).eval()
    except (KeyError, SafetensorError):
        raise UserError(
            f"{PATH}: damaged or of other code; build it again with `dvc repro calibrate`"
        ) from None
