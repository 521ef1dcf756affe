"""The index finds what a comparison with every film finds, and its precision stands beside chance."""

import hashlib
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from cxr import retrieval
from cxr.data import packed
from cxr.files import read_json
from cxr.models import classifier
from cxr.models.classifier import predict
from stages import index
from tests.builders import files_below, refused, small_classifier, write_packed, write_params


def vectors(count: int, seed: int) -> np.ndarray:
    """Rows of very different lengths, so that the cosine is not the inner product."""
    generator = np.random.default_rng(seed)
    lengths = generator.lognormal(0, 2, (count, 1))
    return (generator.normal(size=(count, 24)) * lengths).astype(np.float32)


def test_neighbours_equal_brute_force():
    gallery, queries = vectors(200, 0), vectors(30, 1)
    similarity, neighbours = retrieval.build_index(gallery).search(retrieval.unit(queries), 10)
    cosine = cosine_similarity(queries, gallery)
    assert np.array_equal(neighbours, np.argsort(-cosine, axis=1)[:, :10])
    np.testing.assert_allclose(similarity, np.sort(cosine, axis=1)[:, ::-1][:, :10], atol=1e-6)


def test_film_is_its_own_nearest():
    gallery = vectors(50, 0)
    similarity, neighbours = retrieval.build_index(gallery).search(retrieval.unit(gallery), 1)
    assert np.array_equal(neighbours[:, 0], np.arange(50))
    np.testing.assert_allclose(similarity, 1, atol=1e-6)


def test_unit_leaves_its_input_and_zeros_alone():
    rows = vectors(5, 0)
    rows[2] = 0
    before = rows.copy()
    found = retrieval.unit(rows)
    assert np.array_equal(rows, before)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0, 1, 1], atol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_precision_equals_counting(k):
    generator = np.random.default_rng(0)
    gallery, queries = generator.integers(0, 3, 40), generator.integers(0, 3, 25)
    neighbours = np.stack([generator.permutation(40)[:10] for _ in queries])
    expected = []
    for query, found in zip(queries, neighbours, strict=True):
        hits = 0
        for position in found[:k]:
            hits += gallery[position] == query
        expected.append(hits / k)
    assert retrieval.precision_at(k, gallery, queries, neighbours).tolist() == expected


def test_chance_is_the_share_of_the_class():
    gallery = np.array([0, 0, 0, 1])
    assert retrieval.chance(gallery, np.array([1, 0, 2])).tolist() == [0.25, 0.75, 0]


def test_chance_is_what_random_neighbours_reach():
    generator = np.random.default_rng(0)
    gallery, queries = generator.choice(2, 300, p=[0.3, 0.7]), generator.integers(0, 2, 200)
    neighbours = generator.integers(0, 300, (200, 50))
    found = retrieval.precision_at(50, gallery, queries, neighbours)
    assert found.mean() == pytest.approx(retrieval.chance(gallery, queries).mean(), abs=0.02)


def test_report_averages_over_all_and_over_each_class():
    gallery, queries = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1])
    neighbours = np.array([[0, 2, 1, 3, 4] * 2, [2, 3, 4, 0, 1] * 2, [0, 2, 3, 4, 1] * 2])
    report = index.evaluate(gallery, queries, neighbours, ["normal", "sick"])
    assert report["normal"] == pytest.approx(
        {"precision_at_1": 1, "precision_at_5": 0.4, "precision_at_10": 0.4, "chance": 0.4}
    )
    assert report["sick"] == pytest.approx(
        {"precision_at_1": 0.5, "precision_at_5": 0.6, "precision_at_10": 0.6, "chance": 0.6}
    )
    assert report["overall"]["precision_at_1"] == pytest.approx(2 / 3)
    assert report["overall"]["chance"] == pytest.approx((0.4 + 0.6 + 0.6) / 3)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage on an untrained classifier."""
    monkeypatch.chdir(tmp_path)

    def call(train: tuple[int, int], tta: str = "flip") -> packed.Packed:
        write_packed({"train": train, "val": (3, 3), "test": (10, 15)}, ["normal", "sick"])
        classifier.save(small_classifier(tta=tta))
        write_params(tmp_path, {"compute.threads": 1, "compute.device": "cpu"})
        index.main()
        return packed.load()

    return call


def test_stage_indexes_train_and_asks_for_test(run):
    data = run((20, 30))
    meta, model = read_json(retrieval.META), classifier.load()
    assert meta["rows"] == data.rows("train").tolist()
    assert (
        meta["model_sha256"] == hashlib.sha256(Path("models/classifier.safetensors").read_bytes()).hexdigest()
    )
    stored = faiss.read_index(str(retrieval.INDEX))
    assert (stored.ntotal, stored.d) == (50, meta["dimensions"])

    train, test = data.rows("train"), data.rows("test")
    gallery, queries = (
        predict(model, data.images[rows], torch.device("cpu")).embeddings for rows in (train, test)
    )
    np.testing.assert_allclose(
        stored.reconstruct_n(0, 50), gallery / np.linalg.norm(gallery, axis=1, keepdims=True), atol=1e-6
    )
    nearest = np.argsort(-cosine_similarity(queries, gallery), axis=1)
    report = read_json("metrics/retrieval.json")
    for k in (1, 5, 10):
        hits = data.labels[train][nearest[:, :k]] == data.labels[test][:, None]
        for name, mine in (("overall", slice(None)), ("normal", data.labels[test] == 0)):
            # Films of noise have near ties, which two sums of floats may order differently.
            assert report[name][f"precision_at_{k}"] == pytest.approx(hits[mine].mean(), abs=0.5 / len(test))
    assert report["overall"]["chance"] == pytest.approx((10 * 0.4 + 15 * 0.6) / 25)


def test_gallery_smaller_than_ten_is_not_counted_wrong(run, tmp_path):
    with refused("train has 7 films", "10"):
        run((3, 4))
    assert "metrics/retrieval.json" not in files_below(tmp_path)


def test_zoomed_views_do_not_reach_the_index(run):
    """Which would take three times as long; the other views do."""
    indices = []
    for tta in ("flip", "flip_zoom", "none"):
        run((20, 20), tta)
        indices.append(Path("models/index.faiss").read_bytes())
    assert indices[0] == indices[1] != indices[2]
