"""Pools of trained members: the groups of a pair share no run, and unusable pools are an error."""

import numpy as np
import pytest

from benchmarks.compare_false_alarms import both_forms, from_pools


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


def test_two_pools_give_the_runs_with_the_same_seeds_in_either_order(pool):
    draw, generator = from_pools([pool("a.npz", 4), pool("b.npz", 4, first=50)], 3), np.random.default_rng(0)
    first = set()
    for _ in range(10):
        labels, a, b = draw(generator)
        assert np.abs(a[:, 0] - b[:, 0]) == pytest.approx(np.full(3, 0.5))
        first.add(a[0, 0] < 0.5)
    assert first == {True, False}
    assert set(both_forms(labels, a, b)) == {"paired", "unpaired"}


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
