"""The two data sets of Kaggle: classes, counts and names are checked, and patients are distinguished."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cxr.data import kaggle
from cxr.data.folders import RadiographFile
from cxr.data.kaggle import check_pneumonia, patient, read_pneumonia, read_three_class
from cxr.data.own_folder import read_folder
from cxr.data.radiograph import read_radiograph
from cxr.data.splitting import cut_val
from tests.builders import refused, write_tree

PNEUMONIA = (
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/NORMAL/NORMAL2-IM-0115-0001.jpeg",
    "train/PNEUMONIA/person886_virus_1.jpeg",
    "train/PNEUMONIA/person886_bacteria_2.jpeg",
    "val/NORMAL/IM-0116-0001-0002.jpeg",
    "val/PNEUMONIA/person886_virus_3.jpeg",
    "test/NORMAL/IM-0001-0001.jpeg",
    "test/PNEUMONIA/person1_virus_1_2.jpeg",
)
THREE = tuple(
    f"{split}/{name}/{name}-{number}.jpg"
    for split in ("train", "val", "test")
    for name in ("normal", "pneumonia", "tuberculosis")
    for number in (1, 2)
)


def lowered(name: str) -> str:
    """Folders in lower case, the file as it is."""
    split, category, file = name.split("/")
    return f"{split}/{category}/".lower() + file


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Path:
    """An empty mirror, and a published set of the eight radiographs of `PNEUMONIA`."""
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path / "mirror"))
    counts = {
        **{"train": {"normal": 2, "pneumonia": 2}, "val": {"normal": 1, "pneumonia": 1}},
        **{"test": {"normal": 1, "pneumonia": 1}},
    }
    names = "\n".join(sorted(lowered(name) for name in PNEUMONIA))
    monkeypatch.setattr(kaggle, "PNEUMONIA_COUNTS", counts)
    monkeypatch.setattr(kaggle, "PNEUMONIA_NAMES_SHA256", hashlib.sha256(names.encode()).hexdigest())
    return tmp_path / "mirror"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("IM-0115-0001-0002.jpeg", "IM-0115"),
        ("NORMAL2-IM-0115-0001.jpeg", "NORMAL2-IM-0115"),
        ("person886_virus_1234.jpeg", "person886_virus"),
        ("person886_bacteria_1234.jpeg", "person886_bacteria"),
        ("person447_virus_921_1.jpeg", "person447_virus"),
    ],
)
def test_patient_is_series_or_type_and_number(name, key):
    assert patient(name) == key


@pytest.mark.parametrize("name", ["normal-1.jpg", "IM-0115.jpeg", "person1.jpeg", "xIM-0115-0001.jpeg"])
def test_name_without_a_patient_is_an_error(name):
    with refused(f"{name}: not a file name of chest_xray_pneumonia"):
        patient(name)


@pytest.mark.parametrize("case", [str, lowered, str.title], ids=["as published", "lower case", "capitals"])
def test_published_val_becomes_train(mirror, monkeypatch, case):
    names = [f"{case(name).rsplit('/', 1)[0]}/{name.rsplit('/', 1)[1]}" for name in PNEUMONIA]
    root = write_tree(mirror / "chest-xray-pneumonia/chest_xray", *names)
    write_tree(root / "chest_xray", *names)  # the second copy does not count
    data = read_pneumonia(16)
    assert data.splits == ["train"] * 6 + ["test"] * 2
    assert data.classes == ["normal"] * 2 + ["pneumonia"] * 2 + ["normal", "pneumonia"] * 2
    patients = {Path(name).name: key for name, key in zip(data.sources, data.patients, strict=True)}
    assert patients["person886_virus_1.jpeg"] == patients["person886_virus_3.jpeg"] == "person886_virus"
    assert len(set(patients.values())) == 7
    assert sorted(data.sources) == sorted(names)
    for source, image in zip(data.sources, data.images, strict=True):
        np.testing.assert_array_equal(image, read_radiograph(root / source, 16))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (PNEUMONIA[1:], "train has 1 radiographs of normal, not 2; an altered copy?"),
        (
            (*PNEUMONIA, "test/NORMAL/IM-0002-0001.jpeg"),
            "test has 2 radiographs of normal, not 1; an altered copy?",
        ),
        (("train/NORMAL/IM-0117-0001.jpeg", *PNEUMONIA[1:]), "its file names have sha256"),
        (("train/COVID/1.png", "val/COVID/1.png", "test/COVID/1.png", *PNEUMONIA), "its classes are covid, "),
        ((*PNEUMONIA, "val/COVID/1.png"), "train: has no radiographs of covid"),
    ],
    ids=[
        "a missing radiograph",
        "an additional radiograph",
        "another radiograph",
        "a third class",
        "a third class in one split",
    ],
)
def test_altered_copy_is_an_error(mirror, names, message):
    write_tree(mirror / "chest-xray-pneumonia", *names)
    with refused(str(mirror / "chest-xray-pneumonia"), message):
        read_pneumonia(16)


@pytest.mark.parametrize("case", [str, lambda name: f"{name.rsplit('/', 1)[0].upper()}/{Path(name).name}"])
def test_three_classes_keep_their_splits_in_either_case(mirror, case):
    root = write_tree(mirror / "chest-xray-dataset", *(case(name) for name in THREE))
    data = read_three_class(16)
    assert data.splits == ["train"] * 6 + ["val"] * 6 + ["test"] * 6
    assert data.classes == ["normal", "normal", "pneumonia", "pneumonia", "tuberculosis", "tuberculosis"] * 3
    assert data.sources == [case(name) for name in THREE]
    through_folder = read_folder(root, 16)
    np.testing.assert_array_equal(data.images, through_folder.images)
    assert [name.lower() for name in through_folder.classes] == data.classes
    assert through_folder.splits == data.splits


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([name for name in THREE if "tub" not in name], "its classes are normal, pneumonia, not normal, pn"),
        (
            [*THREE, *(f"{s}/covid/1.png" for s in ("train", "val", "test"))],
            "its classes are covid, normal, ",
        ),
        (THREE[:-2], "test: has no radiographs of tuberculosis; every split needs each class"),
        (THREE[:-6], "no folder in it holds train, val and test"),
    ],
    ids=["two classes", "four classes", "a split without a class", "no test"],
)
def test_other_classes_are_an_error(mirror, names, message):
    write_tree(mirror / "chest-xray-dataset", *names)
    with refused(message):
        read_three_class(16)


REAL = Path(os.environ.get("CXR_MIRROR") or "CXR_MIRROR is not set").resolve().parent / "data/kermany224.zip"


@pytest.mark.skipif(not REAL.is_file(), reason="no data/kermany224.zip beside CXR_MIRROR")
def test_real_names_are_the_published_ones_and_share_no_patient():
    files = []
    for name in zipfile.ZipFile(REAL).namelist():
        split, category, _ = name.lower().split("/")
        files.append(RadiographFile(split, category, Path(name)))
    check_pneumonia(REAL, files)
    patients = [patient(file.path.name) for file in files]
    labels = np.array([int(file.category == "pneumonia") for file in files])
    published = ["test" if file.split == "test" else "train" for file in files]
    splits = cut_val(published, labels, patients, 0.125, 0)
    of_split = {
        split: {p for p, s in zip(patients, splits, strict=True) if s == split}
        for split in ("train", "val", "test")
    }
    assert all(len(patients_of_split) > 100 for patients_of_split in of_split.values())
    assert not of_split["train"] & of_split["val"]
    assert not (of_split["train"] | of_split["val"]) & of_split["test"]
    for label in (0, 1):
        of_class = [s for s, other in zip(splits, labels, strict=True) if other == label]
        fraction = of_class.count("val") / (of_class.count("train") + of_class.count("val"))
        assert fraction == pytest.approx(0.125, abs=0.002)
