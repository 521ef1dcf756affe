"""The sets of MedMNIST besides PneumoniaMNIST: which are read, by the package's index, and with which line
the others are refused. (How a file is fetched and checked: tests/stages/test_download.py.)
"""

import hashlib
from pathlib import Path
from typing import Any

import medmnist
import numpy as np
import pytest

from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv, read_json
from cxr.data.medmnist import medmnist_info, read_medmnist
from cxr.data.provenance import provenance_of
from stages import download, split
from tests.builders import noise_images, refused, write_params

GREY = [
    "breastmnist",
    "octmnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
    "pneumoniamnist",
    "tissuemnist",
]


@pytest.fixture
def edition(tmp_path, monkeypatch):
    """Publish a tiny edition of a set in CXR_MIRROR, with two images of each class in each split, under the
    official name of its file; returns its images by split."""
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path))

    def publish(name: str, size: int) -> dict[str, np.ndarray]:
        info: dict[str, Any] = medmnist.INFO[name]
        suffix = "" if size == 28 else f"_{size}"
        images = 2 * len(info["label"])
        arrays = {f"{s}_images": noise_images(images, size, n) for n, s in enumerate(info["n_samples"])}
        labels = (np.arange(images) % len(info["label"])).astype(np.uint8)[:, None]  # as published: (N, 1)
        path = tmp_path / f"{name}{suffix}.npz"
        np.savez(path, **arrays, **{f"{s}_labels": labels for s in info["n_samples"]})
        changes = {"n_samples": dict.fromkeys(info["n_samples"], images)}
        changes[f"MD5{suffix}"] = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setitem(medmnist.INFO, name, info | changes)
        return arrays

    return publish


@pytest.mark.parametrize("name", medmnist.INFO)
def test_grey_sets_with_classes_are_taken_and_no_others(name):
    """All twelve sets in two dimensions and the six in three, by the package's own index."""
    if name in GREY:
        assert medmnist_info(name) is medmnist.INFO[name]
        return
    with refused(
        f"params.yaml: download.source is medmnist:{name}, ", f"; there are {', '.join(sorted(GREY))}"
    ):
        medmnist_info(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pathmnist", "whose images are in colour, and this pipeline reads grey ones"),
        (
            "chestmnist",
            "which gives an image several findings (multi-label, binary-class) instead of one class",
        ),
        ("retinamnist", "which gives an image a grade (ordinal-regression) instead of one class"),
        ("organmnist3d", "whose images are three-dimensional"),
        ("organmnist", "which MedMNIST does not have; did you mean organ"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(name, reason):
    with refused(f"params.yaml: download.source is medmnist:{name}, {reason}"):
        read_medmnist(name, 28)


@pytest.mark.parametrize(("name", "size"), [("breastmnist", 28), ("organamnist", 64), ("octmnist", 28)])
def test_a_set_becomes_the_data_set(tmp_path, monkeypatch, edition, name, size):
    monkeypatch.chdir(tmp_path)
    for draws in ("charts.class_counts", "charts.intensity", "radiographs.sample_grid", "image_rows"):
        monkeypatch.setattr(f"stages.split.{draws}", lambda *_, **__: None)  # it takes most of the time
    arrays, info = edition(name, size), medmnist.INFO[name]
    write_params(tmp_path, {"download.source": f"medmnist:{name}", "download.size": size})
    download.main()
    split.main()
    data = load_dataset()
    assert sorted(data.classes) == sorted(info["label"].values())
    rows = read_csv("data/labels.csv")
    for number, row in enumerate(rows):
        file, of_split, index = row["source"].split("/")
        assert (file, of_split) == (f"{name}.npz" if size == 28 else f"{name}_{size}.npz", row["split"])
        np.testing.assert_array_equal(data.images[number], arrays[f"{of_split}_images"][int(index)])
        assert row["class"] == info["label"][str(int(index) % len(info["label"]))]
    assert len(rows) == sum(info["n_samples"].values())
    source = read_json("metrics/data.json")["source"]
    assert (source["id"], source["name"]) == (name, info["python_class"])
    assert source["description"].endswith(info["description"])
    assert (source["licence"], source["licence_id"], source["reading"]) == ("CC BY 4.0", "cc-by-4.0", "plain")
    assert "no chest radiographs" in source["limits"]


def test_a_size_that_a_set_does_not_have_is_refused():
    with refused("params.yaml: download.size is 100; octmnist has 28, 64, 128 and 224"):
        read_medmnist("octmnist", 100)


def test_pneumoniamnist_is_one_of_them(edition):
    images = edition("pneumoniamnist", 64)
    np.testing.assert_array_equal(read_medmnist("pneumoniamnist", 64).images[:4], images["train_images"])
    assert provenance_of("medmnist:pneumoniamnist", "own") is provenance_of("pneumoniamnist", "own")


def test_patients_of_any_set_can_be_named(tmp_path, edition):
    edition("breastmnist", 28)
    named = Path(tmp_path / "patients.csv")
    named.write_text("split,index,patient\nval,1,b\n")
    assert read_medmnist("breastmnist", 28, named).patients == ["", "", "", "", "", "b", *[""] * 6]
