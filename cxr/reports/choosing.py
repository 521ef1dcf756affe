"""The films to write about: a seeded mix of correct and wrong decisions of every kind."""

import numpy as np


def choose(labels: np.ndarray, decisions: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(min(count, N),) int64 positions, in an order that says nothing about them.

    labels, decisions: (N,) int. The kinds are each class decided correctly and each error that occurs. As
    many films are drawn of one as of another, as far as there are any, so that errors are far more frequent
    than in all films. The same arguments give the same films.
    """
    generator = np.random.default_rng(seed)
    pairs = sorted(
        set(zip(labels.tolist(), decisions.tolist(), strict=True)), key=lambda p: (p[0] != p[1], p)
    )
    kinds = [
        generator.permutation(np.flatnonzero((labels == truth) & (decisions == taken)))
        for truth, taken in pairs
    ]
    # Film by film, the first of each kind, then the second of each.
    places = sorted((place, kind) for kind, films in enumerate(kinds) for place in range(len(films)))
    return generator.permutation([kinds[kind][place] for place, kind in places[:count]])
