"""Which queries the figures show."""

from pathlib import Path

import numpy as np
from PIL import Image

from cxr.core.dataset import load_dataset
from cxr.embeddings.retrieval import first_of_each, hardest
from cxr.figures import retrieval as retrieval_figures
from cxr.figures.retrieval import Search
from tests.builders import write_packed
from tests.pictures import is_grey, recorded


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
    search = Search(data.images, queries, rows, np.ones((4, 10), np.float32), "distance", "train")
    names, none = np.array(data.classes)[data.labels], np.full(len(data.labels), "", dtype=object)
    retrieval_figures.draw_retrieval(search, names, none, [], [])
    for name in ("retrieval", "retrieval_errors", "retrieval_subclasses"):
        assert min(Image.open(Path(f"plots/{name}.png")).size) > 100


def test_figures_show_the_queries_and_neighbours_they_name(tmp_path, monkeypatch):
    """Each image has a grey level of its own, by which it is recognised."""
    monkeypatch.chdir(tmp_path)
    images = np.broadcast_to((3 * np.arange(60, dtype=np.uint8))[:, None, None], (60, 8, 8))
    names = np.array(["normal", "sick"])[np.arange(60) % 2]
    subclasses = np.array([f"sick_{row % 3}" if row % 2 else "" for row in range(60)], dtype=object)
    queries = np.arange(30, 54)
    neighbours = (np.arange(24)[:, None] + np.arange(10)) % 30  # of query 0 the rows 0, 1, 2, ...
    neighbours[3] = [1, 3, 5, 7, 9, 11, 13, 0, 2, 4]
    values = 1 - np.arange(240).reshape(24, 10) / 1000
    with recorded() as saved:
        retrieval_figures.draw_retrieval(
            Search(images, queries, neighbours, values, "cosine", "train"), names, subclasses, [3, 8], [5]
        )

    def check(name: str, i: int, line: int, groups: np.ndarray, title: str) -> None:
        query, *nearest = saved[name].panels[6 * line : 6 * line + 6]
        assert query.title == f"{title}\n{groups[queries[i]]}"
        assert is_grey(query.shown(8), images[queries[i]])
        for panel, row, value in zip(nearest, neighbours[i], values[i], strict=False):
            assert panel.title == f"{groups[row]}\ncosine {value:#.4g}"
            assert is_grey(panel.shown(8)[1:-1, 1:-1], images[row][1:-1, 1:-1])

    check("retrieval.png", 0, 0, names, "test radiograph 0")
    check("retrieval.png", 20, 1, names, "test radiograph 20")
    check("retrieval_errors.png", 3, 0, names, "test radiograph 3\n7 of 10 of its class")
    check("retrieval_errors.png", 8, 1, names, "test radiograph 8\n5 of 10 of its class")
    groups = np.where(subclasses == "", names, subclasses)
    check("retrieval_subclasses.png", 5, 0, groups, "test radiograph 5")
