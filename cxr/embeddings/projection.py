"""Vectors in the plane by t-SNE (van der Maaten & Hinton, 2008,
https://jmlr.org/papers/v9/vandermaaten08a.html): neighbours stay neighbours; distances between groups, and
their sizes, mean nothing."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

GALLERY = 1000  # images of the gallery that are mapped; with all of them it takes minutes in place of seconds
COMPONENTS = 50  # principal components to which vectors are reduced first, as its authors recommend
PERPLEXITY = 30.0


def sample_rows(rows: np.ndarray) -> np.ndarray:
    """Up to `GALLERY` of `rows`, (n,) int, drawn at random, ascending. The same rows give the same sample."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:GALLERY])


def to_plane(vectors: np.ndarray) -> np.ndarray:
    """(n, 2) float32. vectors: (n, d) float32, n at least 4. The same vectors give the same points."""
    count, dimensions = vectors.shape
    components = min(COMPONENTS, count, dimensions)
    with threadpool_limits(1):  # sums in an order that depends on the threads
        reduced = PCA(components, svd_solver="full").fit_transform(vectors)
        perplexity = min(PERPLEXITY, (count - 1) / 3)
        return TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1).fit_transform(reduced)
