"""The stage builds the gallery that params.yaml describes, never of test radiographs, and measures how often
neighbours share the class."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import pairwise_distances, silhouette_score
from sklearn.neighbors import NearestNeighbors

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.files import read_json, write_json, write_npy
from cxr.embeddings.gallery import INDEX, META, Gallery, Meta, SearchResult, Vectors
from cxr.embeddings.retrieval import DEPTHS
from cxr.embeddings.vectors import embed_new
from cxr.figures import retrieval as retrieval_figures
from cxr.inference.calibration import Calibration, save_calibration
from cxr.inference.predictions import Predictions, load_predictions, save_predictions
from cxr.models import classifier
from cxr.models.classifier import load_classifier, predict
from cxr.params import load_params
from stages import index
from tests.builders import files_below, refused, save_classifier, small_classifier, write_packed, write_params

CPU = torch.device("cpu")
DRAW = retrieval_figures.draw_retrieval


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage on an untrained classifier; embeddings are drawn, in two sub-classes.

    Without its figures, which take most of the time.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retrieval_figures, "draw_retrieval", lambda *_, **__: None)

    def call(
        train: tuple[int, ...] = (20, 30),
        test: tuple[int, ...] = (10, 15),
        tta: str = "flip",
        **changes: object,
    ) -> dataset.Dataset:
        names = ["normal", "sick", "worse"][: len(train)]
        write_packed({"train": train, "val": (3,) * len(train), "test": test}, names)
        data = load_dataset()
        points = np.random.default_rng(0).normal(size=(len(data.labels), 5)) + data.labels[:, None]
        write_npy("data/embeddings.npy", points.astype(np.float32))
        write_npy("data/centroids.npy", np.array([[1.0] * 5, [2.0] * 5], np.float32))
        write_json("metrics/cluster.json", {"sick": {"k": 2}})
        outputs = {"outputs": names, "output_classes": list(range(len(names))), "classes": names}
        model = small_classifier(tta=tta, **outputs)
        save_classifier(model)
        even = [1 / len(names)] * len(names)
        save_calibration(Calibration(1.0, 0.5 if len(names) == 2 else None, even, even))
        of_test, queries = predict(model, data.images[data.rows("test")], CPU), data.rows("test")
        save_predictions(
            Predictions(
                names,
                queries,
                data.splits[queries],
                data.labels[queries],
                of_test.mean,
                of_test.probabilities,
            )
        )
        settings = {f"index.{name}": value for name, value in changes.items()}
        settings |= {"compute.threads": 1, "compute.device": "cpu", "evaluate.bootstrap": 100}
        write_params(tmp_path, settings | {"clip_embed.dimensions": 5})
        index.main()
        return data

    return call


def neighbours(gallery: np.ndarray, queries: np.ndarray, metric: str, k: int) -> np.ndarray:
    reference = NearestNeighbors(metric=metric, algorithm="brute").fit(gallery)
    return reference.kneighbors(queries, k, return_distance=False)


def features(data: dataset.Dataset, rows: np.ndarray, metric: str) -> dict[str, np.ndarray]:
    outputs = predict(load_classifier(), data.images[rows], CPU)
    of_classifier = outputs.embeddings if metric == "cosine" else outputs.features
    return {"classifier": of_classifier, "encoder": np.load("data/embeddings.npy")[rows]}


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_report_equals_scikit_learns_neighbours(run, metric):
    data = run(metric=metric)
    report = read_json("metrics/retrieval.json")
    train, test = data.rows("train"), data.rows("test")
    truth = data.labels[test]
    of_gallery, of_queries = features(data, train, metric), features(data, test, metric)
    for name in ("classifier", "encoder"):
        distance = "cosine" if metric == "cosine" else "euclidean"
        retrieved = data.labels[train][neighbours(of_gallery[name], of_queries[name], distance, 10)]
        # Each image is its own nearest neighbour, since none is a copy of another.
        others = truth[neighbours(of_queries[name], of_queries[name], distance, 11)[:, 1:]]
        for section, classes in (("gallery", retrieved), ("leave_one_out", others)):
            for k in DEPTHS:
                expected = (classes[:, :k] == truth[:, None]).mean()
                # Images of noise have near ties, which two sums of floats may order differently.
                precision = report[section][name][f"precision_at_{k}"]
                assert precision == pytest.approx(expected, abs=0.5 / len(test))
    assert report["gallery"]["chance"] == pytest.approx((10 * 0.4 + 15 * 0.6) / 25)
    assert report["leave_one_out"]["chance"] == pytest.approx((10 * 9 + 15 * 14) / (24 * 25))
    details = read_json("metrics/retrieval_details.json")
    for section in ("gallery", "leave_one_out"):
        for name in ("classifier", "encoder"):
            groups = details[section][name]
            assert set(groups) == {"overall", "normal", "sick"}
            assert {key: entry["value"] for key, entry in groups["overall"].items()} == report[section][name]
            assert all(
                entry["low"] <= entry["value"] <= entry["high"] for entry in groups["overall"].values()
            )


@pytest.mark.parametrize(
    ("name", "splits"), [("train", ["train"]), ("train_val", ["train", "val"]), ("test", ["test"])]
)
@pytest.mark.parametrize("embedding", ["classifier", "encoder"])
def test_gallery_is_as_params_describe_it(run, embedding, name, splits):
    data = run(embedding=embedding, gallery=name, metric="l2")
    rows = data.rows(*splits)
    gallery = Gallery.load()
    assert gallery.meta.rows == rows.tolist()
    assert (gallery.meta.embedding, gallery.meta.metric, gallery.meta.kind) == (embedding, "l2", "flat")
    np.testing.assert_allclose(
        gallery.index.reconstruct_n(0, len(rows)), features(data, rows, "l2")[embedding], atol=1e-6
    )
    if embedding == "classifier":
        assert gallery.meta.source_sha256 == hashlib.sha256(classifier.WEIGHTS.read_bytes()).hexdigest()
        images = data.images[rows[:4]]
        result = gallery.search(embed_new(gallery.meta, images, load_params(), CPU), 1)
        assert result.rows[:, 0].tolist() == rows[:4].tolist()


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_kinds_are_built_and_reach_a_recall_of_99_percent(run, kind):
    run(kind=kind)
    assert read_json(META)["kind"] == kind
    recalls = read_json("metrics/retrieval.json")["recall_at_10"]
    assert recalls["ivf"] >= 0.99
    assert recalls["hnsw"] >= 0.99


def test_vectors_of_another_classifier_are_an_error(run):
    run()
    save_classifier(small_classifier(seed=1))
    gallery = Gallery.load()
    with refused("models/index.faiss was built with another model than models/classifier.safetensors"):
        gallery.search(embed_new(gallery.meta, load_dataset().images[:1], load_params(), CPU), 3)


def test_a_gallery_of_fewer_than_ten_is_an_error(run, tmp_path):
    with refused("data/labels.csv: the gallery would hold 7 radiographs, retrieval needs 10"):
        run((3, 4))
    assert not {"metrics/retrieval.json", str(INDEX), str(META)} & set(files_below(tmp_path))
    run((3, 4), gallery="train_val")  # three of each class more
    with refused("the gallery would hold 10 radiographs, retrieval needs 11"):  # the query is one of them
        run((9, 9), (5, 5), gallery="test")


def test_few_images_of_a_class_and_few_test_images_are_enough(run):
    run((3, 8, 1), (2, 1, 1), kind="ivf")
    report = read_json("metrics/retrieval.json")
    assert "precision_at_10" in report["gallery"]["classifier"]
    leave_one_out = report["leave_one_out"]["classifier"]
    assert {name for name in leave_one_out if name.startswith("precision")} == {
        "precision_at_1",
        "precision_at_3",
    }


def test_same_bytes_twice(run, monkeypatch):
    monkeypatch.setattr(retrieval_figures, "draw_retrieval", DRAW)
    names = [INDEX, META, *map(Path, ("metrics/retrieval.json", "metrics/retrieval_details.json"))]
    names += [Path(f"plots/retrieval{part}.png") for part in ("", "_errors", "_subclasses")]
    names.append(Path("plots/embeddings.png"))
    contents = []
    for _ in range(2):
        run(kind="hnsw")
        contents.append([name.read_bytes() for name in names])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_gallery_of_test_gives_the_leave_one_out_results(run, kind):
    run(gallery="test", kind=kind)
    report = read_json("metrics/retrieval.json")
    assert report["gallery"] == report["leave_one_out"]
    details = read_json("metrics/retrieval_details.json")
    assert details["gallery"] == details["leave_one_out"]


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_distances_equal_scikit_learns(run, metric):
    data = run(test=(10, 15), metric=metric)
    train, test = data.rows("train"), data.rows("test")
    distances = read_json("metrics/retrieval_details.json")["distances"]
    assert distances["measure"] == {"cosine": "cosine", "l2": "distance"}[metric]
    vectors = {"gallery": features(data, train, metric), "test": features(data, test, metric)}
    vectors = {name: of_split["classifier"] for name, of_split in vectors.items()}
    if metric == "cosine":
        vectors = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in vectors.items()}
        values = -np.sort(-(vectors["test"] @ vectors["gallery"].T), axis=1)[:, :5]
    else:
        values = np.sort(pairwise_distances(vectors["test"], vectors["gallery"]), axis=1)[:, :5]
    for label, name in enumerate(data.classes):
        assert_describes(distances["by_class"][name], values[data.labels[test] == label])
    assert set(distances["queries"]) == {"0", "20"}  # of 25 there is no query 70
    assert_describes(distances["queries"]["20"], values[20])
    for split, rows in (("gallery", train), ("test", test)):
        spread, labels = distances["spread"][split], data.labels[rows]
        centroids = [vectors[split][labels == label].mean(axis=0) for label in (0, 1)]
        for label, name in enumerate(data.classes):
            of_class = vectors[split][labels == label]
            assert_describes(
                spread["to_centroid"][name], pairwise_distances(of_class, centroids[label : label + 1])
            )
        (between,) = spread["between_centroids"].items()
        assert between == (
            "normal, sick",
            pytest.approx(np.linalg.norm(centroids[0] - centroids[1]), rel=1e-4),
        )
        assert spread["silhouette"] == pytest.approx(silhouette_score(vectors[split], labels), abs=1e-4)


def assert_describes(entry: dict[str, float], values: np.ndarray) -> None:
    expected = [values.mean(), values.std(), values.min(), np.median(values), values.max()]
    found = [entry[name] for name in ("mean", "sd", "min", "median", "max")]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_map_marks_the_misclassified_test_radiographs(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(index, "draw_map", lambda path, shown, title: drawn.append(shown))
    for gallery in ("train", "test"):
        data = run(gallery=gallery)
        shown, test = drawn.pop(), load_predictions().of("test")
        rows = data.rows("train", "test") if gallery == "train" else data.rows("test")
        assert shown.points.shape == (len(rows), 2)
        assert np.isfinite(shown.points).all()
        assert shown.queries.sum() == len(test.rows)
        wrong = test.ensemble[:, 1] >= 0.5
        assert np.array_equal(shown.wrong[shown.queries], wrong != (test.labels == 1))
        assert 0 < shown.wrong.sum() < len(test.rows)
        assert not shown.wrong[~shown.queries].any()
        assert np.array_equal(shown.labels[shown.queries], test.labels)


def test_predictions_of_another_data_set_are_an_error(run, monkeypatch):
    run()
    path = Path("metrics/predictions.csv")
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with refused("metrics/predictions.csv does not belong to data/labels.csv"):
        index.main()


def test_zoomed_copies_are_not_in_the_index(run):
    """They would take three times as long; the mirror image is."""
    indices = []
    for tta in ("flip", "flip_zoom", "none"):
        run(tta=tta)
        indices.append(INDEX.read_bytes())
    assert indices[0] == indices[1] != indices[2]


@pytest.mark.parametrize(("embedding", "metric"), [("encoder", "cosine"), ("classifier", "l2")])
def test_figures_and_recall_are_of_the_saved_gallery(run, monkeypatch, embedding, metric):
    drawn, measured = [], []
    monkeypatch.setattr(retrieval_figures, "draw_retrieval", lambda search, **_: drawn.append(search))
    monkeypatch.setattr(
        index, "recalls_at_10", lambda *arguments: measured.append(arguments) or {"ivf": 1.0, "hnsw": 1.0}
    )
    data = run(metric=metric, embedding=embedding)
    train, test = data.rows("train"), data.rows("test")
    of_gallery, of_queries = (features(data, rows, metric)[embedding] for rows in (train, test))
    (search,) = drawn
    assert np.array_equal(search.queries, test)
    assert np.array_equal(search.images, data.images)
    assert search.measure == ("cosine" if metric == "cosine" else "distance")
    distances = cdist(of_queries, of_gallery, "cosine" if metric == "cosine" else "euclidean")
    shown = np.sort(distances, axis=1)[:, :10]
    np.testing.assert_allclose(search.values, 1 - shown if metric == "cosine" else shown, atol=1e-5)
    nearest = train[np.argsort(distances, axis=1)[:, :10]]
    assert (search.neighbours == nearest).mean() > 0.95  # but for near ties
    ((gallery_vectors, query_vectors, used),) = measured
    np.testing.assert_allclose(gallery_vectors.values, of_gallery, atol=1e-6)
    np.testing.assert_allclose(query_vectors.values, of_queries, atol=1e-6)
    assert used == metric


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_the_hardest_queries_have_the_fewest_hits_then_the_most_similar_wrong_image(run, monkeypatch, metric):
    data = run()
    drawn = {}
    monkeypatch.setattr(retrieval_figures, "draw_retrieval", lambda _, **rest: drawn.update(rest))
    queries, train = data.rows("test"), data.rows("train")
    of_class = [train[data.labels[train] == label] for label in (0, 1)]
    hits = np.full(len(queries), 9)
    hits[:6], hits[-6:] = (5, 1, 4, 1, 1, 0), (3, 3, 3, 2, 6, 7)
    rows = np.array(
        [
            np.r_[of_class[label][: hits[i]], of_class[1 - label][: 10 - hits[i]]]
            for i, label in enumerate(data.labels[queries])
        ]
    )
    values = np.tile(np.random.default_rng(0).random((len(queries), 1)), 10)
    meta = Meta("classifier", metric, "flat", 5, "", train.tolist())
    index.draw_figures(data, queries, SearchResult(rows, values), meta, "train")
    nearness = values[:, 0] * (1 if metric == "cosine" else -1)
    expected = []
    for label in (0, 1):
        few = [i for i, query in enumerate(queries) if data.labels[query] == label and hits[i] < 5]
        expected += sorted(few, key=lambda i: (hits[i], -nearness[i]))[:3]
    assert drawn["hardest"] == expected
    assert len(expected) > 4
    names = drawn["subclasses"]
    assert [names[queries[i]] for i in drawn["first"]] == sorted(set(names[queries].tolist()) - {""})
    assert drawn["names"].tolist() == [data.classes[label] for label in data.labels]


def test_recall_compares_each_approximate_kind_with_the_exact_one(monkeypatch):
    """Stand-ins for the kinds: ivf finds eight of the ten nearest, hnsw five."""

    class Stand:
        def __init__(self, kind: str) -> None:
            self.kind = kind

        def search(self, queries: Vectors, k: int) -> SearchResult:
            wrong = {"flat": 0, "ivf": 2, "hnsw": 5}[self.kind]
            rows = np.tile(np.r_[np.arange(k - wrong), 100 + np.arange(wrong)], (len(queries.values), 1))
            return SearchResult(rows, np.ones(rows.shape, np.float32))

    monkeypatch.setattr(index.Gallery, "build", lambda *arguments: Stand(arguments[-1]))
    vectors = Vectors(np.zeros((20, 3), np.float32), "")
    assert index.recalls_at_10(vectors, vectors, "cosine") == {"ivf": 0.8, "hnsw": 0.5}
