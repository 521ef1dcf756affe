"""Retrieval metrics: how often the nearest neighbours of a query share its class, and what random retrieval
reaches.

    precision_at_k       proportion of the k nearest images that have the query's class
    hit_at_k             1 if at least one of them has
    map_at_k             average precision, 1 / min(R, k) * sum of precision_at_i over the ranks i <= k at
                         which there is an image of the query's class, of which the gallery holds R (mAP@100
                         of Weyand et al., 2020, https://arxiv.org/abs/2004.01804)
    map_at_k_over_hits   the same sum, divided by the number of images of the class among the k: never below
                         map_at_k, since images that were not retrieved cost nothing. Published results on
                         PneumoniaMNIST have this form (https://arxiv.org/abs/2409.09430 and metric.py of its
                         code)
    majority_vote_at_5   1 if the majority class of the five nearest is the query's; among equally frequent
                         classes that of the nearest image

All are 0 for a query of a class that the gallery lacks. Classes are ints, indices into the data set's list of
classes.
"""

import numpy as np

from cxr.evaluation.statistics import blocks, interval

RetrievalReport = dict[str, dict[str, dict[str, float]]]  # by group, metric and number

DEPTHS = (1, 3, 5, 10)
AVERAGED = (5, 10)
VOTERS = 5
HARDEST = 6  # queries, divided among the classes
DRAWS = 20_000  # random results for a query of each class: the standard error of chance is at most 0.004


def retrieval_scores(
    retrieved: np.ndarray, queries: np.ndarray, available: np.ndarray
) -> dict[str, np.ndarray]:
    """Every metric, (Q,) float64 with a value for each query, at the depths up to K.

    retrieved: (Q, K) int, classes of the retrieved images, nearest first. queries: (Q,) int, classes of the
    queries. available: (C, C) int, row c: how many images of each class are in the gallery of a query of
    class c.
    """
    hits = retrieved == queries[:, None]
    relevant = available[queries, queries]
    depths = [k for k in DEPTHS if k <= retrieved.shape[1]]
    values = {f"precision_at_{k}": hits[:, :k].mean(axis=1) for k in depths}
    values |= {f"hit_at_{k}": hits[:, :k].any(axis=1).astype(float) for k in depths if k > 1}
    for k in AVERAGED:
        if k in depths:
            precisions = precision_sums(hits[:, :k])
            values[f"map_at_{k}"] = _ratio(precisions, np.minimum(relevant, k))
            values[f"map_at_{k}_over_hits"] = _ratio(precisions, hits[:, :k].sum(axis=1))
    if VOTERS in depths:
        votes = majority(retrieved[:, :VOTERS], len(available))
        values[f"majority_vote_at_{VOTERS}"] = (votes == queries).astype(float)
    return values


def precision_sums(hits: np.ndarray) -> np.ndarray:
    """(Q,) float64: the sum of the precisions at the ranks of the hits. hits: (Q, k) bool."""
    ranks = np.arange(1, hits.shape[1] + 1)
    return (hits * hits.cumsum(axis=1) / ranks).sum(axis=1)


def majority(retrieved: np.ndarray, classes: int) -> np.ndarray:
    """(Q,) int: the most frequent of the classes `retrieved`, (Q, k) int; among equals the one that comes
    first."""
    votes = retrieved[:, :, None] == np.arange(classes)
    first = votes.argmax(axis=1)
    return (votes.sum(axis=1) - first / retrieved.shape[1]).argmax(axis=1)


def random_retrieval(available: np.ndarray, depth: int) -> dict[str, np.ndarray]:
    """(C,) float64 of every metric: its mean for a query of each class if `depth` images are drawn from the
    gallery at random, with replacement. available: see `retrieval_scores`."""
    generator = np.random.default_rng(0)
    proportions = available / available.sum(axis=1, keepdims=True)
    of_class = []
    for label, of_gallery in enumerate(proportions):
        drawn = generator.choice(len(of_gallery), (DRAWS, depth), p=of_gallery)
        scores = retrieval_scores(drawn, np.full(DRAWS, label), available)
        of_class.append({name: values.mean() for name, values in scores.items()})
    means = {name: np.array([scores[name] for scores in of_class]) for name in of_class[0]}
    # Precision has a closed form.
    return means | {name: proportions.diagonal() for name in means if name.startswith("precision")}


def retrieval_report(
    retrieved: np.ndarray,
    queries: np.ndarray,
    available: np.ndarray,
    classes: list[str],
    resamples: int,
    patients: np.ndarray | None = None,
) -> RetrievalReport:
    """For all queries (`overall`) and for those of each class, of each metric: its mean `value`, the 95 %
    interval from `low` to `high` over `resamples` bootstrap samples of the queries, stratified by class, and
    the mean of random retrieval (`chance`). The gallery is taken as fixed.

    retrieved, queries, available: see `retrieval_scores`. patients: (Q,) int, of the queries, see
    `statistics.blocks`.
    """
    scores = retrieval_scores(retrieved, queries, available)
    chance = random_retrieval(available, retrieved.shape[1])
    table = np.stack(list(scores.values()), axis=1)
    weights = np.concatenate(list(blocks(queries, resamples, patients=patients)))
    groups = {"overall": np.ones(len(queries), bool)}
    groups |= {name: queries == label for label, name in enumerate(classes) if label in queries}
    result: RetrievalReport = {}
    for group, mask in groups.items():
        means = table[mask].mean(axis=0)
        drawn = weights[:, mask]
        samples = drawn @ table[mask] / drawn.sum(axis=1, keepdims=True)
        result[group] = {
            name: {
                "value": float(mean),
                **interval(name, float(mean), of_resamples),
                "chance": float(chance[name][queries[mask]].mean()),
            }
            for name, mean, of_resamples in zip(scores, means, samples.T, strict=True)
        }
    return result


def recall(retrieved: np.ndarray, exact: np.ndarray) -> float:
    """The proportion of the `exact` nearest images that were `retrieved`; both are (Q, k) rows."""
    return float((exact[:, :, None] == retrieved[:, None, :]).any(axis=2).mean())


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def hardest(hits: np.ndarray, closeness: np.ndarray, labels: np.ndarray) -> list[int]:
    """Queries for which fewer than half of the retrieved images are hits, class by class: the fewest hits
    first; among equals the one with the most similar nearest image.

    hits: (Q, K) bool; closeness: (Q,) float, similarity of the nearest image, larger is nearer; labels: (Q,)
    int.
    """
    precision = hits.mean(axis=1)
    order = np.lexsort((-closeness, precision))
    order = order[precision[order] < 0.5]
    classes = np.unique(labels)
    of_each = max(1, HARDEST // len(classes))
    return [int(i) for label in classes for i in order[labels[order] == label][:of_each]]


def first_of_each(groups: np.ndarray) -> list[int]:
    """The first query of each group, in the order of the groups' names. groups: (Q,) str; "" is no group."""
    return [int(np.flatnonzero(groups == name)[0]) for name in sorted(set(groups) - {""})]
