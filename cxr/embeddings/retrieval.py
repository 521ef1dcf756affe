"""Do the nearest images have the query's class? What is measured of each query, and what chance reaches.

    precision_at_k       share of the k nearest images that have its class
    hit_at_k             1 if any of them has
    map_at_k             average precision, 1 / min(R, k) * sum of precision_at_i over the places i <= k where
                         an image of its class stands, with R such images in the gallery (mAP@100 of Weyand et
                         al., 2020, https://arxiv.org/abs/2004.01804)
    map_at_k_over_hits   the same sum, divided by the images of its class among the k: never below map_at_k,
                         since what was not found costs nothing. What is published of PneumoniaMNIST has this
                         form (https://arxiv.org/abs/2409.09430 and metric.py of its code)
    majority_vote_at_5   1 if most of the five nearest have its class; of equal votes the nearest image
    decides

A class that the gallery lacks counts as 0. Classes are ints, indices into the data set's list of classes.
"""

import numpy as np

from cxr.evaluation.statistics import blocks, interval

Report = dict[str, dict[str, dict[str, float]]]  # group, measure, number

DEPTHS = (1, 3, 5, 10)
AVERAGED = (5, 10)
VOTERS = 5
HARDEST = 6  # queries, shared out among the classes
DRAWS = 20_000  # random answers to a query of each class, so that chance is off by 0.004 at most


def retrieval_scores(found: np.ndarray, queries: np.ndarray, available: np.ndarray) -> dict[str, np.ndarray]:
    """Each measure of each query, (Q,) float64, at the depths that `found` has.

    found: (Q, K) classes of the images found, nearest first; queries: (Q,) their own classes; available:
    (C, C) int, row c: how many images of each class are in the gallery of a query of class c.
    """
    hits = found == queries[:, None]
    relevant = available[queries, queries]
    depths = [k for k in DEPTHS if k <= found.shape[1]]
    values = {f"precision_at_{k}": hits[:, :k].mean(axis=1) for k in depths}
    values |= {f"hit_at_{k}": hits[:, :k].any(axis=1).astype(float) for k in depths if k > 1}
    for k in AVERAGED:
        if k in depths:
            precisions = precision_sums(hits[:, :k])
            values[f"map_at_{k}"] = _ratio(precisions, np.minimum(relevant, k))
            values[f"map_at_{k}_over_hits"] = _ratio(precisions, hits[:, :k].sum(axis=1))
    if VOTERS in depths:
        votes = majority(found[:, :VOTERS], len(available))
        values[f"majority_vote_at_{VOTERS}"] = (votes == queries).astype(float)
    return values


def precision_sums(hits: np.ndarray) -> np.ndarray:
    """(Q,): over the places of `hits`, (Q, k) bool, the sum of the precision up to each hit."""
    places = np.arange(1, hits.shape[1] + 1)
    return (hits * hits.cumsum(axis=1) / places).sum(axis=1)


def majority(found: np.ndarray, classes: int) -> np.ndarray:
    """(Q,) the class that most of `found`, (Q, k), have; among equals the one that stands first."""
    voted = found[:, :, None] == np.arange(classes)
    first = voted.argmax(axis=1)
    return (voted.sum(axis=1) - first / found.shape[1]).argmax(axis=1)


def random_retrieval(available: np.ndarray, depth: int) -> dict[str, np.ndarray]:
    """What `retrieval_scores` gives on average for images drawn at random from the gallery, with replacement:
    (C,) float64 for a query of each class."""
    generator = np.random.default_rng(0)
    shares = available / available.sum(axis=1, keepdims=True)
    found = []
    for label, share in enumerate(shares):
        drawn = generator.choice(len(share), (DRAWS, depth), p=share)
        values = retrieval_scores(drawn, np.full(DRAWS, label), available)
        found.append({name: value.mean() for name, value in values.items()})
    means = {name: np.array([each[name] for each in found]) for name in found[0]}
    return means | {name: shares.diagonal() for name in means if name.startswith("precision")}  # exactly


def retrieval_report(
    found: np.ndarray, queries: np.ndarray, available: np.ndarray, classes: list[str], resamples: int
) -> Report:
    """For all queries (`overall`) and those of each class, of each measure: its mean `value`, `low` and
    `high`, the 95 % interval over `resamples` bootstrap samples of the queries within each class, and what
    `chance` reaches. The gallery counts as given. found, queries, available: see `retrieval_scores`.
    """
    values, chance = retrieval_scores(found, queries, available), random_retrieval(available, found.shape[1])
    table = np.stack(list(values.values()), axis=1)
    weights = np.concatenate(list(blocks(queries, resamples)))
    groups = {"overall": np.ones(len(queries), bool)}
    groups |= {name: queries == label for label, name in enumerate(classes) if label in queries}
    result: Report = {}
    for group, mine in groups.items():
        means = table[mine].mean(axis=0)
        samples = weights[:, mine] @ table[mine] / mine.sum()
        result[group] = {
            name: {
                "value": float(mean),
                **interval(name, float(mean), of_resamples),
                "chance": float(chance[name][queries[mine]].mean()),
            }
            for name, mean, of_resamples in zip(values, means, samples.T, strict=True)
        }
    return result


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """The share of the `exact` nearest images that are among those `found`; both are (Q, k) rows."""
    return float((exact[:, :, None] == found[:, None, :]).any(axis=2).mean())


def without_self(found: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
    """The first `k` of `found`, (Q, k + 1) rows, that are not the query's `own` row, (Q,).

    By the row, not by distance 0: another image that is a copy of the query stays.
    """
    itself = found == own[:, None]
    return np.take_along_axis(found, np.argsort(itself, axis=1, kind="stable")[:, :k], axis=1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def hardest(hits: np.ndarray, closeness: np.ndarray, labels: np.ndarray) -> list[int]:
    """Queries for which fewer than half of the images found are hits, class by class: the fewest hits first;
    among equals the one whose nearest image is nearest, as if that were sure.

    hits: (Q, K) bool; closeness: (Q,) float, larger is nearer; labels: (Q,) int.
    """
    share = hits.mean(axis=1)
    order = np.lexsort((-closeness, share))
    order = order[share[order] < 0.5]
    classes = np.unique(labels)
    return [int(i) for label in classes for i in order[labels[order] == label][: HARDEST // len(classes)]]


def first_of_each(groups: np.ndarray) -> list[int]:
    """(Q,) str: the first query of each group, in the order of their names; "" is no group."""
    return [int(np.flatnonzero(groups == name)[0]) for name in sorted(set(groups) - {""})]
