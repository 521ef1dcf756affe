"""Statistics of neighbours and the spread of classes, where they are known."""

import numpy as np
import pytest

from cxr.embeddings.gallery import SearchResult
from cxr.embeddings.spread import class_spread, neighbour_values


def test_neighbours_with_the_class_of_the_query_are_counted():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 0, 1])
    rows = np.array([[0, 1, 2, 4, 5, 6], [4, 0, 1, 2, 3, 5]])
    values = np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.1], [0.5, 0.4, 0.3, 0.2, 0.1, 0.0]])
    found = neighbour_values(SearchResult(rows, values), np.array([7, 8]), labels, ["a", "b"], [0, 1, 5])
    assert [found["queries"][number]["of_class"] for number in ("0", "1")] == [3, 1]
    assert found["by_class"]["a"]["mean"] == pytest.approx(0.7)
    assert found["by_class"]["b"]["max"] == pytest.approx(0.5)


def test_the_spread_of_a_class_is_that_of_its_own_vectors():
    vectors = np.array([[0, 1], [0, -1], [10, 2], [10, -2]], np.float32)
    spread = class_spread(vectors, np.array([0, 0, 1, 1]), ["a", "b"])
    assert [spread["to_centroid"][name]["mean"] for name in "ab"] == pytest.approx([1, 2])
    assert spread["between_centroids"] == {"a, b": pytest.approx(10)}
