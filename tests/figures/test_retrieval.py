"""Which queries the figures show."""

from pathlib import Path

import numpy as np
from PIL import Image

from cxr.core.dataset import load_dataset
from cxr.embeddings.retrieval import first_of_each, hardest
from cxr.figures import retrieval as retrieval_figures
from cxr.figures.retrieval import Search
from tests.builders import write_packed


def test_hardest_are_those_with_the_fewest_hits_and_the_nearest_wrong_image():
    hits = np.zeros((8, 4), bool)
    hits[0, :3] = hits[1, :2] = hits[2, :1] = True
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    closeness = np.array([0.9, 0.9, 0.9, 0.1, 0.3, 0.2, 0.5, 0.6])
    assert hardest(hits, closeness, labels) == [4, 5, 3, 7, 6]
    three = hardest(hits, closeness, np.array([0, 0, 0, 0, 0, 0, 1, 2]))
    assert three == [4, 5, 6, 7]
    assert hardest(np.ones((8, 4), bool), closeness, labels) == []


def test_first_query_of_each_subclass():
    groups = np.array(["", "b_1", "b_0", "b_1", "", "b_0"], dtype=object)
    assert first_of_each(groups) == [2, 1]
    assert first_of_each(groups[:1]) == []


def test_figures_are_drawn_without_errors_and_without_subclasses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (10, 10), "val": (2, 2), "test": (2, 2)}, ["normal", "sick"])
    data = load_dataset()
    train, queries = data.rows("train"), data.rows("test")
    rows = np.array([train[data.labels[train] == data.labels[query]] for query in queries])
    search = Search(data.images, queries, rows, np.ones((4, 10), np.float32), "distance")
    names, none = np.array(data.classes)[data.labels], np.full(len(data.labels), "", dtype=object)
    retrieval_figures.draw_retrieval(search, names, none, [], [])
    for name in ("retrieval", "retrieval_errors", "retrieval_subclasses"):
        assert min(Image.open(Path(f"plots/{name}.png")).size) > 100
