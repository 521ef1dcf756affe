"""t-SNE keeps groups apart, the same on every call; a sample of the gallery is a sample of its rows."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from cxr.embeddings import projection
from cxr.embeddings.projection import sample_rows, to_plane


def groups(count, dimensions=20):
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], count)
    return (generator.normal(size=(2 * count, dimensions)) + 8 * labels[:, None]).astype(np.float32), labels


def test_distant_groups_stay_apart_in_the_plane():
    vectors, labels = groups(60)
    points = to_plane(vectors)
    assert points.shape == (120, 2)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(120)
    assert (labels[distances.argmin(axis=1)] == labels).all()


@pytest.mark.parametrize("count", [2, 5])
def test_few_vectors_are_enough(count):
    assert np.isfinite(to_plane(groups(count, dimensions=3)[0])).all()


def test_points_do_not_depend_on_the_threads():
    vectors, _ = groups(60)
    with threadpool_limits(2):
        assert np.array_equal(to_plane(vectors), to_plane(vectors))
    before = to_plane(vectors)
    with threadpool_limits(2):
        assert np.array_equal(to_plane(vectors), before)


def test_sample_is_drawn_from_the_rows(monkeypatch):
    monkeypatch.setattr(projection, "GALLERY", 10)
    rows = np.arange(100, 400, 3)
    sample = sample_rows(rows)
    assert len(set(sample.tolist())) == 10
    assert np.isin(sample, rows).all()
    assert (np.diff(sample) > 0).all()
    assert np.array_equal(sample, sample_rows(rows))
    assert sample.max() > 300  # not the first ones
    assert sample_rows(rows[:7]).tolist() == rows[:7].tolist()
