"""k-means finds known sub-classes, measures their stability, and never mixes classes."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv, read_json
from cxr.embeddings.subclasses import chosen_classes, find_clusters
from stages import cluster
from stages.cluster import nearest_to_centroid
from tests.builders import files_below, refused, write_packed, write_params

CLASSES = ["normal", "covid", "sick"]


def blobs(groups: int, images: int = 40, dimensions: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Points around far-apart centres, and the centre each belongs to."""
    generator = np.random.default_rng(0)
    truth = np.repeat(np.arange(groups), images)
    centres = generator.permutation(np.eye(dimensions)[:groups]) * 20
    return (centres[truth] + generator.normal(size=(len(truth), dimensions))).astype(np.float32), truth


@pytest.mark.parametrize("groups", [2, 3, 5])
@pytest.mark.parametrize("automatic", [True, False])
def test_separate_groups_are_found(groups, automatic):
    points, truth = blobs(groups)
    result = find_clusters(points, "auto" if automatic else groups, k_max=6, seed=0)
    assert adjusted_rand_score(truth, result.assignment) == 1
    assert result.silhouette == pytest.approx(silhouette_score(points, truth), abs=1e-6)
    means = [points[result.assignment == number].mean(axis=0) for number in range(groups)]
    np.testing.assert_allclose(result.centroids, means, atol=1e-4)


def test_stability_distinguishes_groups_from_a_single_cloud():
    groups, cloud = blobs(2)[0], np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    assert find_clusters(groups, 2, 6, seed=0).stability == 1
    assert find_clusters(cloud, 6, 6, seed=0).stability < 0.7


def test_clusters_depend_on_the_seed_alone():
    cloud = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    first = find_clusters(cloud, 5, 6, seed=1)
    again, other = find_clusters(cloud, 5, 6, seed=1), find_clusters(cloud, 5, 6, seed=2)
    assert np.array_equal(first.assignment, again.assignment)
    assert first.stability == again.stability
    assert not np.array_equal(first.assignment, other.assignment)


@pytest.mark.parametrize(
    ("k", "k_max", "message"),
    [
        (20, 6, "params.yaml: cluster.k is 20, but the class has 20 different training radiographs"),
        ("auto", 21, "params.yaml: cluster.k_max is 21, but the class has 20 different training radiographs"),
    ],
)
def test_more_clusters_than_images_raise(k, k_max, message):
    with refused(message):
        find_clusters(blobs(2, images=10)[0], k, k_max, seed=0)


def test_highest_seed_works():
    find_clusters(blobs(2)[0], 2, 6, seed=2**32 - 1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_identical_images_raise():
    with refused("cluster.k is 2, but the class has 1 different training radiographs"):
        find_clusters(np.ones((30, 4), np.float32), 2, 6, seed=0)


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("majority", ["covid"]),
        ("all", CLASSES),
        (["sick"], ["sick"]),
        (["sick", "normal", "sick"], ["normal", "sick"]),
    ],
)
def test_chosen_classes(setting, names):
    assert chosen_classes(setting, np.array([0, 1, 1, 2]), CLASSES) == names


def test_unknown_class_raises():
    with refused("params.yaml: cluster.classes names 'flu'; the classes are normal, covid, sick"):
        chosen_classes(["normal", "flu"], np.array([0, 1]), CLASSES)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage on 3 classes of which each radiograph's embedding lies in one of two groups."""
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (12, 40, 20), "val": (3, 3, 3), "test": (3, 3, 3)}, CLASSES)
    data = load_dataset()
    generator = np.random.default_rng(0)
    side = generator.integers(0, 2, len(data.labels))
    points = generator.normal(size=(len(side), 4)) + 30 * side[:, None]
    np.save("data/embeddings.npy", points.astype(np.float32))

    def call(**changes) -> tuple[dataset.Dataset, np.ndarray, list[str], dict]:
        write_params(tmp_path, {f"cluster.{key}": value for key, value in changes.items()})
        cluster.main()
        rows = read_csv("data/subclasses.csv")
        assert [int(row["row"]) for row in rows] == data.rows("train").tolist()
        return data, side, [row["subclass"] for row in rows], read_json("metrics/cluster.json")

    return call


def test_images_that_conflict_with_the_shortcut_are_marked(run, tmp_path):
    """Class covid is brighter, but for five images of each class."""
    data, *_ = run()
    images, train = np.full(data.images.shape, 60, np.uint8), data.rows("train")
    bright = data.labels == 1
    odd = np.concatenate([train[data.labels[train] == label][:2] for label in (0, 1)])
    bright[odd] = ~bright[odd]
    images[bright] = 200
    images += np.random.default_rng(1).integers(0, 30, len(images), dtype=np.uint8)[:, None, None]
    dataset.write_npy(dataset.IMAGES, images)
    run()
    table = read_csv("data/subclasses.csv")
    marked = {int(row["row"]) for row in table if row["conflicting"] == "1"}
    assert set(odd.tolist()) <= marked
    sizes = np.bincount(data.labels[train])
    assert np.bincount(data.labels[sorted(marked)]).tolist() == [round(0.15 * size) for size in sizes]


@pytest.mark.parametrize(
    ("setting", "split"), [("majority", ["covid"]), (["sick", "covid"], ["covid", "sick"]), ("all", CLASSES)]
)
def test_subclasses_refine_the_chosen_classes(run, setting, split):
    data, side, names, metrics = run(classes=setting, k="auto", k_max=4)
    train = data.rows("train")
    for name, row in zip(names, train, strict=True):
        own = data.classes[data.labels[row]]
        assert name in ((f"{own}_0", f"{own}_1") if own in split else (own,))
    assert list(metrics) == split
    for name in split:
        mask = data.labels[train] == data.classes.index(name)
        assert adjusted_rand_score(side[train][mask], np.array(names)[mask]) == 1
        sizes = [names.count(f"{name}_0"), names.count(f"{name}_1")]
        assert metrics[name] == {
            "k": 2,
            "sizes": sizes,
            "silhouette": metrics[name]["silhouette"],
            "stability": 1,
        }
        assert sum(sizes) == mask.sum()
    points = np.load("data/embeddings.npy")[train]
    means = [points[np.array(names) == f"{name}_{i}"].mean(axis=0) for name in split for i in (0, 1)]
    np.testing.assert_allclose(np.load("data/centroids.npy"), means, atol=1e-4)


def test_seed_of_the_parameters_decides_the_subclasses(run, tmp_path):
    data = load_dataset()
    cloud = np.random.default_rng(0).normal(size=(len(data.labels), 4))
    np.save("data/embeddings.npy", cloud.astype(np.float32))

    def subclasses(seed: int) -> list[str]:
        write_params(tmp_path, {"cluster.k": 5, "cluster.classes": "majority", "seed": seed})
        cluster.main()
        return [row["subclass"] for row in read_csv("data/subclasses.csv")]

    assert subclasses(0) != subclasses(3)


def test_shortcut_is_judged_on_other_patients_and_on_no_copy(run, monkeypatch):
    """Of images without a patient copies are kept together."""
    given = []
    monkeypatch.setattr(cluster, "cross_validated", lambda *arguments: given.append(arguments) or known)
    data, rows = load_dataset(), read_csv(dataset.LABELS)
    table = [
        [*list(row.values())[1:5], f"p{number}" if number % 2 else ""] for number, row in enumerate(rows)
    ]
    dataset.save_dataset(np.array(data.images), table, data.reading)
    train = data.rows("train")
    known = np.linspace(0, 1, len(train))
    run()
    ((images, labels, groups),) = given
    np.testing.assert_array_equal(images, data.images[train])
    np.testing.assert_array_equal(labels, data.labels[train])
    assert groups.tolist() == [table[row][4] or rows[row]["sha256"] for row in train]


def test_images_nearest_a_centroid():
    points = np.array([[0.0], [5.0], [1.0], [0.4], [9.0]])
    images, rows = np.arange(100, 110), np.array([1, 3, 5, 7, 9])
    inside = np.array([True, True, True, False, True])
    assert nearest_to_centroid(points, images, rows, inside, np.array([0.9])) == [105, 101, 103, 109]
    points = np.arange(12.0)[:, None]
    many = nearest_to_centroid(points, np.arange(12), np.arange(12), np.ones(12, bool), np.array([3.1]))
    assert many == [3, 4, 2, 5, 1, 6, 0, 7]


def test_failed_stage_writes_nothing(run, tmp_path):
    before = files_below(tmp_path)
    with refused("cluster.k is 15, but the class has 12 different"):
        run(classes="all", k=15)
    assert files_below(tmp_path) == sorted([*before, "params.yaml"])
