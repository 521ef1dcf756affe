"""The errors that are named and selected are the most frequent and the most confident ones."""

import numpy as np

from cxr.evaluation.misclassifications import most_confident_errors, most_frequent_error

CLASSES = ["normal", "pneumonia", "tuberculosis"]


def test_most_frequent_error_in_words():
    labels, decisions = np.repeat([0, 1, 2], [5, 4, 3]), np.array([0, 0, 0, 0, 1, 1, 1, 2, 0, 0, 0, 2])
    words = most_frequent_error(labels, decisions, CLASSES)
    assert words == "tuberculosis misclassified as normal: 2 of 3 radiographs"
    assert most_frequent_error(labels, labels, CLASSES) == "no radiograph is misclassified"


def test_errors_are_the_most_confident_of_each_kind_in_order():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    p = generator.dirichlet(np.ones(3), 300)
    errors = most_confident_errors(labels, p, p.argmax(axis=1), 16)
    assert list(errors) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    for (truth, decision), (total, positions) in errors.items():
        expected = [i for i in range(300) if labels[i] == truth and p[i].argmax() == decision]
        assert total == len(expected)
        assert positions.tolist() == sorted(expected, key=lambda i: -p[i, decision])[:4]
    assert len(most_confident_errors(labels[:0], p[:0], labels[:0], 16)) == 0


def test_all_positions_go_to_the_only_kind_of_error():
    errors = most_confident_errors(np.repeat([0, 1], 20), np.tile([0.4, 0.6], (40, 1)), np.ones(40, int), 16)
    assert {kind: (total, list(chosen)) for kind, (total, chosen) in errors.items()} == {
        (0, 1): (20, list(range(16)))
    }


def test_errors_are_those_of_the_decision_that_is_given():
    # Above a threshold of .8 alone pneumonia: the second radiograph is an error, the third is none.
    labels, p = np.array([1, 1, 0]), np.array([[0.1, 0.9], [0.3, 0.7], [0.4, 0.6]])
    errors = most_confident_errors(labels, p, (p[:, 1] >= 0.8).astype(int), 16)
    assert {kind: (total, list(chosen)) for kind, (total, chosen) in errors.items()} == {(1, 0): (1, [1])}
