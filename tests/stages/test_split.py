"""Splits keep ratios and patients; duplicates across them are counted, reported and dropped from train."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest

from cxr.core import dataset
from cxr.core.dataset import SPLITS, load_dataset
from cxr.core.files import read_csv, read_json
from cxr.data.manifest import Raw, save_manifest
from cxr.data.medmnist import read_medmnist
from cxr.data.provenance import LAYOUTS, SOURCES
from cxr.data.splitting import cut_val, duplicates, leaked_into_train, stratified, under_two_classes
from cxr.figures import charts, radiographs
from cxr.params import Download, Table
from cxr.training.targets import Subclasses, make_targets
from stages import split
from tests.builders import files_below, noise_images, refused, settings, write_params

RATIOS = {"train": 0.7, "val": 0.1, "test": 0.2}


def fraction(splits: list[str], labels: np.ndarray, name: str, label: int) -> float:
    return float(np.mean(np.array(splits)[labels == label] == name))


@pytest.mark.parametrize("ratios", [RATIOS, {"train": 0.5, "val": 0.25, "test": 0.25}])
def test_every_class_is_cut_by_the_ratios(ratios):
    labels = np.repeat([0, 1, 2], [300, 71, 10])
    splits = stratified(labels, [""] * len(labels), ratios, seed=0)
    for label, size in enumerate(np.bincount(labels)):
        for name, ratio in ratios.items():
            assert abs(fraction(splits, labels, name, label) - ratio) * size < 1.01


def test_rare_class_reaches_every_split():
    labels = np.repeat([0, 1], [100, 3])
    splits = stratified(labels, [""] * 103, RATIOS, seed=0)
    assert sorted(splits[100:]) == sorted(SPLITS)


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_in_two_splits(seed):
    generator = np.random.default_rng(seed)
    patients = generator.zipf(1.6, 600).clip(max=120)  # a few have very many radiographs, most have one
    labels = (patients * 7 % 10 < 6).astype(int) ^ (generator.random(600) < 0.05)
    groups = [f"p{patient}" for patient in patients]
    splits = stratified(labels, groups, RATIOS, seed)
    of_group: dict[str, set[str]] = {}
    for group, name in zip(groups, splits, strict=True):
        of_group.setdefault(group, set()).add(name)
    assert all(len(names) == 1 for names in of_group.values())


def test_ratios_hold_with_patients():
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(400), generator.integers(1, 6, 400))
    labels = patients % 4 // 3  # a quarter of the patients are positive
    splits = stratified(labels, [str(patient) for patient in patients], RATIOS, seed=0)
    for label in (0, 1):
        for name, ratio in RATIOS.items():
            assert fraction(splits, labels, name, label) == pytest.approx(ratio, abs=0.02)


def test_largest_groups_are_placed_first():
    """In any other order 2 of 4 single images would be in each half before the group of four comes."""
    splits = stratified(
        np.zeros(8, int), [*"abcd", *"eeee"], {"train": 0.5, "val": 0.25, "test": 0.25}, seed=0
    )
    assert splits[4:] == ["train"] * 4
    assert sorted(splits[:4]) == ["test", "test", "val", "val"]


def test_unknown_patients_are_groups_of_their_own():
    labels = np.zeros(200, int)
    splits = stratified(labels, [""] * 200, RATIOS, seed=0)
    assert set(splits) == set(SPLITS)  # one common group would have gone to one split


@pytest.mark.parametrize(
    "groups", [[""] * 200, [str(i // 3) for i in range(200)]], ids=["images", "patients"]
)
def test_seed_determines_the_split(groups):
    labels = np.arange(200) // 3 % 2
    first = stratified(labels, groups, RATIOS, seed=1)
    assert stratified(labels, groups, RATIOS, seed=1) == first
    other = stratified(labels, groups, RATIOS, seed=2)
    assert other != first
    assert abs(other.count("train") - first.count("train")) <= 6


def test_duplicates_are_counted():
    hashes = ["a", "a", "b", "b", "c", "c", "d", "d", "e", "a"]
    splits = ["train", "train", "train", "val", "val", "test", "test", "test", "train", "val"]
    classes = ["n", "n", "n", "n", "n", "p", "p", "p", "p", "n"]
    assert duplicates(hashes, splits, classes) == {
        **{"within_train": 1, "within_val": 0, "within_test": 1},
        **{"train_val": 2, "train_test": 0, "val_test": 1, "label_conflicts": 1},
    }
    # Both copies of "a" and the one of "b" are in val as well; nothing is dropped from val and test.
    assert leaked_into_train(hashes, splits).nonzero()[0].tolist() == [0, 1, 2]
    assert under_two_classes(hashes, classes).nonzero()[0].tolist() == [4, 5]


@pytest.mark.parametrize("seed", range(3))
def test_val_is_cut_from_train_by_group(seed):
    generator = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(300), generator.integers(1, 6, 300))
    groups = [f"p{number}" for number in numbers]
    labels = numbers % 4 // 3
    before = ["test" if group.endswith("7") else "train" for group in groups]
    after = cut_val(before, labels, groups, 0.2, seed)
    assert [split == "test" for split in after] == [split == "test" for split in before]
    of_group: dict[str, set[str]] = {}
    for group, name in zip(groups, after, strict=True):
        of_group.setdefault(group, set()).add(name)
    assert all(len(names) == 1 for names in of_group.values())
    for label in (0, 1):
        of_class = [name for name, other in zip(after, labels, strict=True) if other == label]
        val, train = of_class.count("val"), of_class.count("train")
        assert val / (val + train) == pytest.approx(0.2, abs=0.02)
    assert cut_val(before, labels, groups, 0.2, seed) == after
    assert cut_val(before, labels, groups, 0.2, seed + 1) != after


def source(**changes) -> Raw:
    """60 images of 2 classes in published splits; three of train are in val or test as well."""
    images = noise_images(60, 16)
    splits = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    images[0], images[3], images[2], images[4] = images[45], images[45], images[55], images[5]
    classes = ["sick" if i % 3 else "normal" for i in range(60)]
    columns = {"images": images, "classes": classes, "splits": splits, "patients": [""] * 60}
    return Raw(**(columns | {"sources": [f"radiograph {i}" for i in range(60)]} | changes))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage on a source in an empty folder, and load what it wrote."""
    monkeypatch.chdir(tmp_path)

    def call(raw: Raw, **changes) -> tuple[dataset.Dataset, dict]:
        write_params(tmp_path, {f"split.{key}": value for key, value in changes.items()})
        save_manifest(raw)
        split.main()
        return load_dataset(), read_json("metrics/data.json")

    return call


def test_known_opacities_follow_the_images_that_are_kept(run):
    raw = source()
    data, _ = run(raw)
    assert np.load(dataset.OPACITIES).shape == (0, 16, 16)
    data, _ = run(replace(raw, opacities=255 - raw.images))
    assert len(data.images) == 57
    assert np.array_equal(dataset.load_opacities(), 255 - data.images)


def sources() -> list[str]:
    return [row["source"] for row in read_csv(dataset.LABELS)]


def test_shared_images_are_dropped_from_train_only(run):
    raw = source()
    data, metrics = run(raw)
    kept = [i for i in range(60) if i not in (0, 2, 3)]  # 4 equals 5, but both are in train
    assert sources() == [raw.sources[i] for i in kept]
    assert data.splits.tolist() == [raw.splits[i] for i in kept]
    assert [data.classes[label] for label in data.labels] == [raw.classes[i] for i in kept]
    np.testing.assert_array_equal(data.images, raw.images[kept])
    assert metrics["duplicates"] == {
        **{"within_train": 2, "within_val": 0, "within_test": 0, "train_val": 1, "train_test": 1},
        **{"val_test": 0, "label_conflicts": 0, "dropped_from_train": 3, "dropped_under_two_classes": 0},
    }


def test_shared_images_are_kept_on_request(run):
    data, metrics = run(source(), drop_duplicates=False)
    assert len(data.images) == 60
    assert metrics["duplicates"]["dropped_from_train"] == 0
    assert metrics["duplicates"]["train_val"] == 1  # reported all the same


@pytest.mark.parametrize("drop_duplicates", [True, False])
def test_images_with_two_classes_are_dropped_from_every_split(run, drop_duplicates, capsys):
    images = source().images
    images[10] = images[12] = images[13]  # all of train: sick, normal, sick
    images[46], images[57] = images[48], images[58]  # val: sick, normal; test: normal, sick
    images[20] = images[54]  # sick in train, normal in test
    raw = source(images=images)
    data, metrics = run(raw, drop_duplicates=drop_duplicates)
    conflicting = (10, 12, 13, 20, 46, 48, 54, 57, 58)
    leaked = (0, 2, 3) if drop_duplicates else ()
    assert sources() == [name for i, name in enumerate(raw.sources) if i not in conflicting + leaked]
    assert len(data.images) == 51 - len(leaked)
    report = metrics["duplicates"]
    assert (report["label_conflicts"], report["dropped_under_two_classes"]) == (4, 9)
    assert report["dropped_from_train"] == len(leaked)  # a conflict that leaked is counted once
    assert "9 with two classes" in capsys.readouterr().out


def test_source_without_a_val_gets_one_by_patient(run):
    patients = [f"p{i // 3}" for i in range(60)]
    classes = ["sick" if i // 3 % 2 else "normal" for i in range(60)]
    splits = ["train"] * 48 + ["test"] * 12
    raw = source(images=noise_images(60, 16), splits=splits, patients=patients, classes=classes)
    changes = {"ratios": {"train": 0.6, "val": 0.2, "test": 0.2}}
    data, metrics = run(raw, **changes)
    assert (data.splits == "test").tolist() == [False] * 48 + [True] * 12
    placed = {(patients[int(name.split()[1])], s) for name, s in zip(sources(), data.splits, strict=True)}
    assert len(placed) == 20
    assert metrics["counts"]["val"] == {"normal": 6, "sick": 6}  # a quarter of 24 each
    other, _ = run(raw, **changes, seed=1)
    assert other.splits.tolist() != data.splits.tolist()


def test_new_val_has_its_share_of_train_and_val_together(run):
    """Test stays as published, so val is 0.3 of 0.9 of what is left."""
    classes = ["sick" if i % 2 else "normal" for i in range(60)]
    raw = source(images=noise_images(60, 16), splits=["train"] * 48 + ["test"] * 12, classes=classes)
    _, metrics = run(raw, ratios={"train": 0.6, "val": 0.3, "test": 0.1})
    assert metrics["counts"]["val"] == {"normal": 8, "sick": 8}


def test_every_source_is_described(run, tmp_path):
    data, metrics = run(source())
    assert data.reading == "medmnist"
    assert {name for name, described in SOURCES.items() if described.reading != "plain"} == {"pneumoniamnist"}
    assert next(iter(metrics)) == "source"
    assert metrics["source"] == {"id": "pneumoniamnist", **asdict(SOURCES["pneumoniamnist"])}
    assert set(SOURCES) == set(get_args(get_args(get_type_hints(Download)["source"])[0]))
    assert {"own", *LAYOUTS} == set(get_args(get_type_hints(Table)["layout"]))
    for described in [*SOURCES.values(), *LAYOUTS.values()]:
        assert described.licence_id in ("cc-by-4.0", "mit", "other", "unknown")  # which Hugging Face knows
        assert described.limits.endswith(".")


def test_description_is_that_of_the_source(run, tmp_path):
    run(source())
    write_params(tmp_path, {"download.source": "phantom"})
    split.main()
    described = read_json("metrics/data.json")["source"]
    assert (described["id"], described["name"]) == ("phantom", "Synthetic radiographs")
    assert load_dataset().reading == "plain"


def test_described_counts_and_grey_levels(run):
    data, metrics = run(source())
    for name in SPLITS:
        pixels = data.images[data.splits == name].astype(float)
        labels = data.labels[data.splits == name]
        assert metrics["counts"][name] == {"normal": (labels == 0).sum(), "sick": (labels == 1).sum()}
        p5, median, p95 = np.percentile(pixels, [5, 50, 95], method="inverted_cdf")
        expected = {"mean": pixels.mean(), "std": pixels.std(), "p5": p5, "median": median, "p95": p95}
        expected["between_images"] = pixels.mean(axis=(1, 2)).std()
        assert metrics["intensity"][name] == pytest.approx(expected, abs=1e-6)


def test_grey_levels_are_drawn_by_class_and_split(run, monkeypatch):
    drawn = {}
    for room in (charts, radiographs):
        monkeypatch.setattr(room, "save_figure", lambda figure, path: drawn.setdefault(path, figure))
    data, _ = run(source())
    panels = drawn["plots/intensity.png"].axes
    assert [panel.get_title() for panel in panels] == ["normal", "sick"]
    for label, panel in enumerate(panels):
        assert [line.get_label() for line in panel.patches] == list(SPLITS)
        for name, line in zip(SPLITS, panel.patches, strict=True):
            pixels = data.images[(data.labels == label) & (data.splits == name)]
            expected, edges = np.histogram(pixels, bins=32, range=(0, 256), density=True)
            np.testing.assert_allclose(line.get_data().values, 8 * expected)
            np.testing.assert_array_equal(line.get_data().edges, edges)


def test_mean_images_are_those_of_their_class_and_split(run, monkeypatch):
    drawn = {}
    monkeypatch.setattr(split, "image_rows", lambda path, rows, *_, **__: drawn.setdefault(path, rows))
    data, _ = run(source())
    means = drawn["plots/mean_images.png"]
    assert list(means) == ["normal", "sick"]
    for label, of_split in enumerate(means.values()):
        for name, mean in zip(SPLITS, of_split, strict=True):
            images = data.images[(data.labels == label) & (data.splits == name)]
            np.testing.assert_array_equal(mean, images.astype(float).mean(axis=0).astype(np.uint8))


def test_stratified_stage_keeps_patients_together(run):
    patients = [f"p{i // 4}" for i in range(60)]
    classes = ["sick" if i // 4 % 2 else "normal" for i in range(60)]
    raw = source(images=noise_images(60, 16), splits=[""] * 60, patients=patients, classes=classes)
    changes = {
        "method": "stratified",
        "by_patient": True,
        "ratios": {"train": 0.5, "val": 0.25, "test": 0.25},
    }
    data, _ = run(raw, **changes)
    placed = {(patients[int(name.split()[1])], s) for name, s in zip(sources(), data.splits, strict=True)}
    assert len(placed) == 15
    again, _ = run(raw, **changes)
    assert again.splits.tolist() == data.splits.tolist()
    other, _ = run(raw, **changes, seed=1)
    assert other.splits.tolist() != data.splits.tolist()


def test_patients_of_each_split_and_of_two_are_counted(run):
    patients = [f"p{i // 4}" for i in range(60)]  # train 0 to 9, val 10 to 12, test 12 to 14
    patients[59], patients[58] = "p0", ""
    data, metrics = run(source(images=noise_images(60, 16), patients=patients))
    shared = {"train_val": 0, "train_test": 1, "val_test": 1}
    assert metrics["patients"] == {"train": 10, "val": 3, "test": 4} | shared
    assert len(set(data.patients.tolist())) == 16  # with the image of an unknown patient
    for row in range(60):
        alike = {i for i in range(60) if i == row or (patients[i] and patients[i] == patients[row])}
        assert set(np.flatnonzero(data.patients == data.patients[row]).tolist()) == alike
    assert "patients" not in run(source())[1]


def test_train_alone_is_cut_anew(run):
    """Kaggle's protocol: .8/.1/.1 of the train folder; the published val and test are in no split."""
    published = ["train"] * 40 + ["val"] * 8 + ["test"] * 12
    raw = source(splits=published, images=noise_images(60, 16))
    data, metrics = run(raw, method="stratified_train", ratios={"train": 0.8, "val": 0.1, "test": 0.1})
    of_train = [name for name, split in zip(raw.sources, published, strict=True) if split == "train"]
    assert sorted(sources()) == sorted(of_train)
    counts = [int(np.sum(data.splits == split)) for split in SPLITS]
    np.testing.assert_allclose(counts, [32, 4, 4], atol=2)  # whole images of each of two classes
    assert metrics["unused"] == 20
    _, of_published = run(raw)
    assert "unused" not in of_published


@pytest.mark.parametrize(
    ("raw", "changes", "message"),
    [
        (
            source(splits=[""] * 60),
            {"method": "stratified_train"},
            "params.yaml: split.method is stratified_train, but this source has no train of its own",
        ),
        (
            source(splits=[""] * 60),
            {},
            "params.yaml: split.method is published, but this source has no splits",
        ),
        (
            source(splits=[""] * 60),
            {"method": "stratified", "by_patient": True},
            "params.yaml: split.by_patient is true, but this source has no patient identifiers",
        ),
        (
            source(classes=["normal"] * 50 + ["sick"] * 10),
            {},
            "split train has no image of class sick; add images or change split.ratios",
        ),
    ],
    ids=["no train", "no published splits", "no patients", "a split without a class"],
)
def test_source_that_cannot_be_split_is_an_error(run, tmp_path, raw, changes, message):
    with refused(message):
        run(raw, **changes)
    raw = [f"data/raw/{name}" for name in ("images.npy", "left_out.json", "manifest.csv", "opacities.npy")]
    assert files_below(tmp_path) == [*raw, "params.yaml"]


REAL = Path(os.environ.get("CXR_MIRROR") or "CXR_MIRROR is not set").resolve() / "pneumoniamnist.npz"


@pytest.mark.skipif(not REAL.is_file(), reason="CXR_MIRROR has no pneumoniamnist.npz")
@pytest.mark.parametrize(
    ("drop", "dropped", "weights"), [(True, 10, [1.9349, 0.6742]), (False, 0, [1.9390, 0.6737])]
)
def test_real_set_has_its_published_counts(run, monkeypatch, drop, dropped, weights):
    monkeypatch.setenv("CXR_MIRROR", str(REAL.parent))  # absolute: `run` works in a folder of its own
    raw = read_medmnist("pneumoniamnist", 28)
    assert np.unique(raw.splits, return_counts=True)[1].tolist() == [624, 4708, 524]
    data, metrics = run(raw, drop_duplicates=drop)
    assert metrics["duplicates"] == {
        **{"within_train": 18, "within_val": 0, "within_test": 3, "train_val": 8, "train_test": 0},
        **{"val_test": 0, "label_conflicts": 0, "dropped_from_train": dropped},
        "dropped_under_two_classes": 0,
    }
    assert [sum(metrics["counts"][name].values()) for name in SPLITS] == [4708 - dropped, 524, 624]
    assert metrics["counts"]["test"] == {"normal": 234, "pneumonia": 390}
    train = data.labels[data.rows("train")]
    chosen = settings("imbalance", strategy="class_weights", class_weights="balanced")
    class_weights = make_targets(chosen, train, data.classes, Subclasses.named([""] * len(train))).weights
    np.testing.assert_allclose(class_weights, weights, atol=5e-5)


def test_default_is_to_keep_published_splits_and_drop_what_leaked():
    assert (settings("split").method, settings("split").drop_duplicates) == ("published", True)
