"""A gallery retrieves what an exhaustive search retrieves; other vectors, rows and files are errors."""

import json

import faiss
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from cxr.core.dataset import load_dataset
from cxr.embeddings.gallery import INDEX, META, Gallery, SearchResult, Vectors
from cxr.embeddings.index_kinds import EXACT_UP_TO, choose_kind
from tests.builders import files_below, refused, write_packed

KINDS, METRICS = ("flat", "ivf", "hnsw"), ("cosine", "l2")
SOURCE = "a" * 64


def vectors(count: int, seed: int = 0) -> np.ndarray:
    """Rows of very different norms, so that the cosine is not the inner product."""
    generator = np.random.default_rng(seed)
    lengths = generator.lognormal(0, 1, (count, 1))
    return (generator.normal(size=(count, 24)) * lengths).astype(np.float32)


def build(values: np.ndarray, metric: str = "cosine", kind: str = "flat") -> Gallery:
    """A gallery of every third row of the data set, from row 5 on."""
    return Gallery.build(Vectors(values, SOURCE), 3 * np.arange(len(values)) + 5, "classifier", metric, kind)


def of_rows(rows: np.ndarray) -> Gallery:
    return Gallery.build(Vectors(vectors(len(rows)), SOURCE), rows, "classifier", "cosine", "flat")


def search(built: Gallery, values: np.ndarray, k: int) -> SearchResult:
    return built.search(Vectors(values, SOURCE), k)


@pytest.mark.parametrize("metric", METRICS)
def test_flat_equals_scikit_learn(metric):
    values, queries = vectors(200), vectors(30, seed=1)
    reference = NearestNeighbors(metric="cosine" if metric == "cosine" else "euclidean", algorithm="brute")
    distances, positions = reference.fit(values).kneighbors(queries, 10)
    result = search(build(values, metric), queries, 10)
    assert np.array_equal(result.rows, 3 * positions + 5)
    np.testing.assert_allclose(result.values, 1 - distances if metric == "cosine" else distances, rtol=1e-4)
    assert (result.rows.dtype, result.values.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_query_in_the_gallery_is_left_out_by_its_row(kind, metric):
    """A copy of it, which is as near, stays; a query that the gallery lacks loses nothing."""
    values = vectors(300)
    values[7] = values[3]
    built, own = build(values, metric, kind), 3 * np.arange(300) + 5
    result = built.search(Vectors(values, SOURCE), 4, own)
    everything = search(built, values, 5)
    assert result.rows.shape == result.values.shape == (300, 4)
    assert not (result.rows == own[:, None]).any()
    assert result.rows[3, 0] == own[7]
    assert result.rows[7, 0] == own[3]
    others = np.delete(np.arange(300), [3, 7])
    assert np.array_equal(result.rows[others], everything.rows[others, 1:])
    assert np.array_equal(result.values[others], everything.values[others, 1:])
    absent = built.search(Vectors(values, SOURCE), 4, own + 1)
    assert np.array_equal(absent.rows, search(built, values, 4).rows)


def test_a_query_with_so_many_copies_that_it_is_not_among_them_loses_the_last():
    result = SearchResult(np.array([[3, 7, 5, 8], [1, 2, 3, 4]]), np.array([[4.0, 3, 2, 1]] * 2))
    left = result.without(np.array([7, 9]))
    assert left.rows.tolist() == [[3, 5, 8], [1, 2, 3]]
    assert left.values.tolist() == [[4, 2, 1], [4, 3, 2]]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_its_own_nearest_neighbour(kind, metric):
    values = vectors(300)
    result = search(build(values, metric, kind), values, 1)
    assert np.array_equal(result.rows[:, 0], 3 * np.arange(300) + 5)
    assert result.values.max() <= 1
    np.testing.assert_allclose(result.values, 1 if metric == "cosine" else 0, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_a_result_does_not_depend_on_other_queries_in_the_batch(metric):
    """FAISS computes the distances of 20 queries or more in another way than those of a few."""
    built, queries = build(vectors(500), metric), vectors(40, seed=1)
    together = search(built, queries, 10)
    for i in (0, 7, 39):
        alone = search(built, queries[i : i + 1], 10)
        assert np.array_equal(alone.rows[0], together.rows[i])
        assert np.array_equal(alone.values[0], together.values[i])


def test_no_queries_give_an_empty_result():
    assert search(build(vectors(20)), vectors(0), 3).rows.shape == (0, 3)


def test_given_vectors_are_not_modified():
    values, queries = vectors(50), vectors(5, seed=1)
    before = values.copy(), queries.copy()
    search(build(values), queries, 3)
    assert np.array_equal(values, before[0])
    assert np.array_equal(queries, before[1])


def test_a_vector_of_zeros_has_cosine_0():
    values = vectors(50)
    values[7] = 0
    result = search(build(values), values[7:8], 50)
    assert np.array_equal(result.values, np.zeros((1, 50)))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_kinds_reach_a_recall_of_99_percent(kind, metric):
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(60, 24)) * 3
    values, queries = (
        (centres[generator.integers(0, 60, count)] + generator.normal(size=(count, 24))).astype(np.float32)
        for count in (6000, 200)
    )
    exact = search(build(values, metric), queries, 10)
    approximate = build(values, metric, kind)
    result = search(approximate, queries, 10)
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(result.rows, exact.rows, strict=True)]
    assert np.mean(shared) >= 0.99
    same = result.rows == exact.rows
    np.testing.assert_allclose(result.values[same], exact.values[same], rtol=1e-4)
    assert approximate.meta.kind == kind


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_small_galleries_and_copies_are_searched_exhaustively(kind, metric, capfd):
    """Few images, few in a list, and copies, which can disconnect the graph: still the k nearest images, each
    once."""
    copies = np.repeat(vectors(4), 50, axis=0)
    many = np.repeat(vectors(40), 40, axis=0)
    for values in (vectors(1), vectors(3), vectors(45), copies, np.ones_like(copies), many):
        exact = search(build(values, metric), values[:20], len(values))
        result = search(build(values, metric, kind), values[:20], len(values))
        assert np.array_equal(np.sort(result.rows, axis=1), np.sort(exact.rows, axis=1))
        np.testing.assert_allclose(result.values, exact.values, atol=1e-5)
    assert "WARNING" not in capfd.readouterr().err


def test_auto_chooses_by_size():
    assert build(vectors(100), kind="auto").meta.kind == "flat"
    assert choose_kind(EXACT_UP_TO) == "flat"
    assert choose_kind(EXACT_UP_TO + 1) == "ivf"


def test_vectors_of_another_source_are_an_error():
    built = build(vectors(20))
    with refused("models/index.faiss was built with another model than models/classifier.safetensors"):
        built.search(Vectors(vectors(1), "b" * 64), 3)
    of_encoder = Gallery.build(Vectors(vectors(20), SOURCE), np.arange(20), "encoder", "l2", "flat")
    with refused("models/index.faiss was built with another encoder than params.yaml names in clip_embed"):
        of_encoder.search(Vectors(vectors(1), "b" * 64), 3)


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (6, 6), "val": (2, 2), "test": (2, 2)}, ["normal", "pneumonia"])
    return load_dataset()


@pytest.mark.parametrize("splits", [("train",), ("train", "val")])
def test_a_gallery_of_train_or_of_train_and_val_belongs_to_the_data_set(data, splits):
    of_rows(data.rows(*splits)).check(data)


@pytest.mark.parametrize(
    "rows",
    [
        lambda data: data.rows("train", "val", "test"),
        lambda data: data.rows("val"),
        lambda data: data.rows("train")[:-1],
        lambda data: data.rows("train")[::-1],
        lambda data: data.rows("train") + len(data.labels),
    ],
    ids=["with test", "without train", "one less", "another order", "out of range"],
)
def test_a_gallery_of_other_rows_is_an_error(data, rows):
    with refused("models/index.json does not belong to data/labels.csv: other rows; run `dvc repro index`"):
        of_rows(rows(data)).check(data)


def test_the_measure_is_named_by_the_metric():
    assert build(vectors(5), "cosine").meta.measure == "cosine"
    assert build(vectors(5), "l2").meta.measure == "distance"


def test_more_neighbours_than_images_are_an_error():
    built = build(vectors(20))
    assert search(built, vectors(1), 20).rows.shape == (1, 20)
    with refused("models/index.faiss holds 20 radiographs, fewer than the 21 to be found"):
        search(built, vectors(1), 21)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_gallery_gives_the_same_results(kind, metric, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values, queries = vectors(400), vectors(20, seed=1)
    built = build(values, metric, kind)
    built.save()
    assert files_below(tmp_path) == [str(INDEX), str(META)]
    loaded = Gallery.load()
    assert loaded.meta == built.meta
    for name in ("rows", "values"):
        before, after = (getattr(search(gallery, queries, 10), name) for gallery in (built, loaded))
        assert np.array_equal(before, after)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_do_not_depend_on_the_threads(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values, contents = vectors(3000), []
    before = faiss.omp_get_max_threads()
    try:
        for threads in (1, 2, 2):
            faiss.omp_set_num_threads(threads)
            build(values, kind=kind).save()
            assert faiss.omp_get_max_threads() == threads
            contents.append((INDEX.read_bytes(), META.read_bytes()))
    finally:
        faiss.omp_set_num_threads(before)
    assert contents[0] == contents[1] == contents[2]


def test_files_that_are_missing_damaged_or_not_a_pair_are_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused("models/index.faiss: no index here", "dvc repro", "dvc pull"):
        Gallery.load()
    build(vectors(50)).save()
    whole, meta = INDEX.read_bytes(), json.loads(META.read_text())
    INDEX.write_bytes(whole[:1000])
    with refused("models/index.faiss is damaged", "dvc repro index"):
        Gallery.load()
    INDEX.write_bytes(whole)
    META.write_text(json.dumps({**meta, "rows": meta["rows"][:-1]}))
    with refused("models/index.faiss and models/index.json do not belong together"):
        Gallery.load()
    META.write_text(json.dumps({key: value for key, value in meta.items() if key != "source_sha256"}))
    with refused("models/index.json has other keys than this version writes"):
        Gallery.load()


def test_search_is_exact_up_to_fifty_thousand_images():
    """docs/search.md: an exact search of so many takes 5 ms."""
    assert [choose_kind(count) for count in (10, 501, 4_708, 50_000, 50_001)] == ["flat"] * 4 + ["ivf"]


def test_a_gallery_of_other_splits_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (6, 6), "val": (3, 3), "test": (6, 6)}, ["normal", "sick"])
    data = load_dataset()
    for splits in (("train",), ("train", "val"), ("test",)):
        of_rows(data.rows(*splits)).check(data)
    for splits in (("val", "test"), ("train", "test"), ("val",), ("train", "val", "test")):
        with refused("models/index.json does not belong to data/labels.csv: other rows"):
            of_rows(data.rows(*splits)).check(data)


@pytest.mark.parametrize("metric", METRICS)
def test_a_query_has_the_same_neighbours_and_values_in_any_batch(metric):
    """Vectors far from the origin: by ||a||^2 + ||b||^2 - 2ab their distances would lose digits."""
    values, queries = 100 + vectors(200), 100 + vectors(40, seed=1)
    built = build(values, metric)
    together = search(built, queries, 5)
    for number, query in enumerate(queries):
        alone = search(built, query[None], 5)
        assert np.array_equal(alone.rows[0], together.rows[number])
        assert np.array_equal(alone.values[0], together.values[number])
