"""Pools of trained members: the groups of a pair share no run, and unusable pools are an error."""

import numpy as np
import pytest

from benchmarks.compare_false_alarms import from_pools, one_pair


@pytest.fixture
def pool(tmp_path):
    """Write a pool in which run i gives radiograph 0 the probability (first + i) / 100."""

    def write(name: str, runs: int, images: int = 40, first: int = 0):
        generator = np.random.default_rng(first)
        probabilities = generator.random((runs, images)) / 2
        labels = np.arange(images) % 2
        probabilities[:, labels == 1] += 0.4
        probabilities[:, 0] = (first + np.arange(runs)) / 100
        np.savez(tmp_path / name, labels=labels, probabilities=probabilities)
        return tmp_path / name

    return write


def test_groups_of_one_pool_are_disjoint_and_change(pool):
    draw, generator = from_pools([pool("a.npz", 9)], 4), np.random.default_rng(0)
    drawn = set()
    for _ in range(20):
        labels, a, b = draw(generator)
        assert (len(labels), a.shape, b.shape) == (40, (4, 40), (4, 40))
        runs = np.concatenate([a[:, 0], b[:, 0]])
        assert len(set(runs)) == 8
        drawn.add(tuple(runs))
    assert len(drawn) > 10


def test_two_pools_give_a_group_each(pool):
    draw = from_pools([pool("a.npz", 3), pool("b.npz", 5, first=50)], 3)
    labels, a, b = draw(np.random.default_rng(0))
    assert max(a[:, 0]) < 0.5 <= min(b[:, 0])
    difference, called, _ = one_pair(labels, a, b)
    assert (called, abs(difference) < 0.2) == (False, True)


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        ([("a.npz", 5)], "5 runs are too few"),
        ([("a.npz", 9), ("b.npz", 9, 30)], "not about the same radiographs"),
    ],
)
def test_unusable_pools_are_an_error(pool, pools, message):
    with pytest.raises(SystemExit, match=message):
        from_pools([pool(*arguments) for arguments in pools], 3)
