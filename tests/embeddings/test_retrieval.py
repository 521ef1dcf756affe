"""Retrieval metrics against definitions, scikit-learn and a worked example; chance in closed form."""

from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

from cxr.embeddings import retrieval
from cxr.embeddings.retrieval import random_retrieval, retrieval_report, retrieval_scores
from cxr.evaluation.statistics import blocks

EVERYWHERE = np.full((3, 3), 100)  # a gallery with 100 images of each class, for queries of every class


def drawn(queries: int, depth: int = 10, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.integers(0, classes, (queries, depth)), generator.integers(0, classes, queries)


def test_precision_and_hits_equal_counting():
    retrieved, queries = drawn(25)
    values = retrieval_scores(retrieved, queries, EVERYWHERE)
    for k in (1, 3, 5, 10):
        hits = [sum(retrieved[i, rank] == queries[i] for rank in range(k)) for i in range(25)]
        assert values[f"precision_at_{k}"].tolist() == [count / k for count in hits]
        if k > 1:
            assert values[f"hit_at_{k}"].tolist() == [float(count > 0) for count in hits]


def test_average_precision_of_a_worked_example():
    """Images of the query's class at ranks 1, 2 and 4: 1/1 + 2/2 + 3/4 = 2.75."""
    retrieved, query = np.array([[0, 0, 1, 0, 2]]), np.array([0])
    values = retrieval_scores(retrieved, query, EVERYWHERE)
    assert values["map_at_5"] == pytest.approx(2.75 / 5)
    assert values["map_at_5_over_hits"] == pytest.approx(2.75 / 3)
    # With three such images in the gallery, none was missed.
    assert retrieval_scores(retrieved, query, np.full((3, 3), 3))["map_at_5"] == pytest.approx(2.75 / 3)
    none = retrieval_scores(np.array([[1, 1, 1, 2, 2]]), query, EVERYWHERE)
    assert (none["map_at_5"], none["map_at_5_over_hits"]) == (0, 0)


def test_average_precision_of_a_whole_ranking_is_that_of_scikit_learn():
    """In a gallery of 10 images all of them are ranked."""
    generator = np.random.default_rng(0)
    gallery, queries = generator.permutation([0] * 4 + [1] * 5 + [2]), np.repeat([0, 1, 2], 10)
    rankings = np.array([generator.permutation(10) for _ in queries])
    available = np.tile(np.bincount(gallery), (3, 1))
    values = retrieval_scores(gallery[rankings], queries, available)["map_at_10"]
    for ranking, query, value in zip(rankings, queries, values, strict=True):
        scores = np.empty(10)
        scores[ranking] = np.arange(10, 0, -1)
        assert value == pytest.approx(average_precision_score(gallery == query, scores))


def test_dividing_by_hits_never_lowers_average_precision():
    retrieved, queries = drawn(500)
    values = retrieval_scores(retrieved, queries, EVERYWHERE)
    for k in (5, 10):
        assert (values[f"map_at_{k}_over_hits"] >= values[f"map_at_{k}"]).all()
        assert (values[f"map_at_{k}"] <= values[f"precision_at_{k}"] + 1e-12).all()


def test_majority_vote_is_that_of_k_nearest_neighbours():
    generator = np.random.default_rng(0)
    points, labels = generator.normal(size=(60, 3)), generator.integers(0, 2, 60)
    queries, truth = generator.normal(size=(40, 3)), generator.integers(0, 2, 40)
    reference = KNeighborsClassifier(5).fit(points, labels)
    retrieved = labels[reference.kneighbors(queries, return_distance=False)]
    votes = retrieval_scores(retrieved, truth, np.full((2, 2), 30))["majority_vote_at_5"]
    assert np.array_equal(votes, reference.predict(queries) == truth)


def test_of_equal_votes_the_nearest_image_decides():
    retrieved, _ = drawn(300, depth=5)
    for row, vote in zip(retrieved.tolist(), retrieval.majority(retrieved, 3), strict=True):
        count = Counter(row)
        winners = [label for label in count if count[label] == max(count.values())]
        assert vote == min(winners, key=row.index)


def test_metrics_end_at_the_depth_of_the_result():
    retrieved, queries = drawn(5, depth=2)
    assert set(retrieval_scores(retrieved, queries, EVERYWHERE)) == {"precision_at_1"}
    retrieved, queries = drawn(5, depth=5)
    assert "map_at_5" in retrieval_scores(retrieved, queries, EVERYWHERE)
    assert not any("10" in name for name in retrieval_scores(retrieved, queries, EVERYWHERE))


def test_a_class_that_the_gallery_lacks_counts_as_0():
    values = retrieval_scores(np.ones((1, 10), int), np.array([0]), np.array([[0, 50], [0, 50]]))
    assert set(np.concatenate(list(values.values()))) == {0}


def test_chance_is_the_mean_of_images_drawn_at_random():
    proportions = np.array([0.2, 0.5, 0.3])
    chance = random_retrieval(np.tile((1000 * proportions).astype(int), (3, 1)), 10)
    for k in (1, 3, 5, 10):
        np.testing.assert_allclose(chance[f"precision_at_{k}"], proportions, atol=1e-12)
        if k > 1:
            np.testing.assert_allclose(chance[f"hit_at_{k}"], 1 - (1 - proportions) ** k, atol=0.01)
    # E[hit at i * precision at i] = p (1 + (i - 1) p) / i
    expected = [np.mean([p * (1 + (i - 1) * p) / i for i in range(1, 6)]) for p in proportions]
    np.testing.assert_allclose(chance["map_at_5"], expected, atol=0.01)
    two = random_retrieval(np.full((2, 2), 50), 5)
    np.testing.assert_allclose(two["majority_vote_at_5"], 0.5, atol=0.01)


def test_chance_leaves_the_query_out():
    """One image of class 0 and three of class 1: without the query class 0 has no image left."""
    assert random_retrieval(np.array([[0, 3], [1, 2]]), 3)["precision_at_1"].tolist() == [0, 2 / 3]


def test_report_averages_over_all_and_over_each_class():
    retrieved, queries = drawn(60)
    queries[queries == 2] = 1
    report = retrieval_report(retrieved, queries, EVERYWHERE, ["normal", "sick", "absent"], 200)
    assert set(report) == {"overall", "normal", "sick"}
    values = retrieval_scores(retrieved, queries, EVERYWHERE)
    (weights,) = blocks(queries, 200)
    for group, mask in (("overall", queries >= 0), ("normal", queries == 0), ("sick", queries == 1)):
        for name, of_query in values.items():
            resampled = [np.repeat(of_query[mask], row[mask].astype(int)).mean() for row in weights]
            low, high = np.percentile(resampled, [2.5, 97.5])
            entry = report[group][name]
            assert entry["value"] == pytest.approx(of_query[mask].mean())
            assert (entry["low"], entry["high"]) == (pytest.approx(low), pytest.approx(high))
    parts = [report["normal"], report["sick"]]
    proportions = [np.mean(queries == label) for label in (0, 1)]
    for name, entry in report["overall"].items():
        mean = sum(p * part[name]["chance"] for p, part in zip(proportions, parts, strict=True))
        assert entry["chance"] == pytest.approx(mean)


def test_recall_does_not_depend_on_ranks():
    exact, retrieved = np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([[4, 3, 2, 1], [5, 9, 10, 11]])
    assert retrieval.recall(retrieved, exact) == 5 / 8
    assert retrieval.recall(exact, exact) == 1


def test_the_hardest_queries_of_many_classes_are_one_of_each():
    labels = np.arange(33) % 11
    chosen = retrieval.hardest(np.zeros((33, 10), bool), np.arange(33.0), labels)
    assert labels[chosen].tolist() == list(range(11))
    assert chosen == list(range(22, 33))  # the ones whose nearest image is most similar
