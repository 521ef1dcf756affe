"""Small data sets in the layouts as published: which images, classes, patients and splits come of them."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from cxr.data.table.listing import Listing, list_images
from tests.builders import refused, settings, write_tree
from tests.tables import CHEXPERT, MIMIC_SPLIT, NIH, write_chexpert, write_mimic, write_nih, write_vindr


def listed(folder: Path, layout: str, **changes: Any) -> Listing:
    return list_images(settings("table", **{"layout": layout, "positive": "Pneumonia"} | changes), folder)


def rows(listing: Listing) -> list[tuple[str, str, str, str]]:
    return list(zip(listing.paths, listing.classes, listing.patients, listing.splits, strict=True))


@pytest.fixture
def nih(tmp_path) -> Path:
    write_nih(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("first", "second"), [("images/", "images/"), ("images_001/images/", "images_012/images/")]
)
def test_nih(nih, first, second):
    """The archives of the NIH unpack to one folder, those of Kaggle to twelve."""
    write_tree(nih, f"{first}00000001_000.png", f"{second}00000003_000.png")
    listing = listed(nih, "nih")
    assert rows(listing) == sorted(
        [
            (f"{first}00000001_000.png", "pneumonia", "1", "train"),
            ("images/00000001_001.png", "normal", "1", "train"),  # not there: reported when it is read
            ("images/00000002_000.png", "pneumonia", "2", "test"),
            (f"{second}00000003_000.png", "normal", "3", "test"),
        ]
    )
    assert listing.left_out == {"other_labels": 1}
    assert len(listed(nih, "nih", others="negative").paths) == 5
    assert len(listed(nih, "nih", views=["PA"]).paths) == 3


def test_nih_without_its_lists_or_with_other_labels_is_refused(nih):
    table = nih / "Data_Entry_2017.csv"
    table.write_text(NIH.replace("Hernia", "Hernea"))
    with refused(f"{table}: line 6: the label 'Hernea' is none of Atelectasis, "):
        listed(nih, "nih")
    (nih / "test_list.txt").write_text("00000002_000.png\n")
    with refused(f"{table}: line 5: 00000003_000.png is neither in train_val_list.txt nor in test_list.txt"):
        listed(nih, "nih")
    (nih / "test_list.txt").unlink()
    with refused(
        f"{nih}: has no test_list.txt; params.yaml: download.folder must name the folder of the data"
    ):
        listed(nih, "nih")
    table.unlink()
    with refused(f"{nih}: has no Data_Entry_2017.csv or Data_Entry_2017_v2020.csv"):
        listed(nih, "nih")


def test_chexpert(tmp_path):
    write_chexpert(tmp_path)
    listing = listed(tmp_path, "chexpert")
    assert rows(listing) == [
        ("train/patient00001/study1/view1_frontal.jpg", "normal", "patient00001", "train"),
        ("train/patient00002/study1/view1_frontal.jpg", "pneumonia", "patient00002", "train"),
        ("valid/patient64541/study1/view1_frontal.jpg", "pneumonia", "patient64541", "test"),
        ("valid/patient64542/study1/view1_frontal.jpg", "normal", "patient64542", "test"),
    ]
    assert listing.left_out == {"other_view": 2, "uncertain": 1, "other_labels": 1}
    ones = listed(tmp_path, "chexpert", uncertain="ones", others="negative", views="all")
    of_train = [name for name, split in zip(ones.classes, ones.splits, strict=True) if split == "train"]
    assert of_train == ["no pneumonia", "pneumonia", "pneumonia", "pneumonia", "no pneumonia"]
    zeros = listed(tmp_path, "chexpert", uncertain="zeros", others="negative")
    assert zeros.classes[:4] == ["no pneumonia", "pneumonia", "no pneumonia", "no pneumonia"]


def test_chexpert_without_the_table_of_its_validation_is_refused(tmp_path):
    write_chexpert(tmp_path)
    (tmp_path / "valid.csv").unlink()
    with refused(
        f"{tmp_path}: has no valid.csv; params.yaml: download.folder must name the folder of the data"
    ):
        listed(tmp_path, "chexpert")


def test_chexpert_names_patients_in_its_paths(tmp_path):
    (tmp_path / "train.csv").write_text(CHEXPERT.replace("patient00003/", ""))
    with refused("train.csv: line 5: 'CheXpert-v1.0-small/train/study2/view1_frontal.jpg' names no patient"):
        listed(tmp_path, "chexpert")


def test_a_finding_that_a_layout_lacks_is_refused_with_its_columns(tmp_path):
    write_chexpert(tmp_path)
    with refused("train.csv: has no column 'Pneumonitis'; it has Path, Sex, ", ", Pneumonia, Atelectasis"):
        listed(tmp_path, "chexpert", positive="Pneumonitis")
    with refused("params.yaml: table.positive is none, but this table has a column for each finding"):
        listed(tmp_path, "chexpert", positive="none")


@pytest.mark.parametrize("folder", ["annotations", "."])
def test_vindr(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    write_vindr(tmp_path / folder)
    listing = listed(tmp_path, "vindr")
    assert rows(listing) == [
        ("test/ee.dicom", "pneumonia", "", "test"),
        ("test/ff.dicom", "normal", "", "test"),
        ("train/aa.dicom", "pneumonia", "", "train"),  # two readers of three
        ("train/bb.dicom", "normal", "", "train"),
    ]
    assert listing.left_out == {"other_labels": 1, "uncertain": 1}  # gg; cc, one reader of three
    assert (listing.rows, rows(listed(tmp_path, "vindr", uncertain="zeros"))[-1][:2]) == (
        6,
        ("train/cc.dicom", "normal"),
    )
    with refused("left out: ", "the labels in the table are: "):
        listed(tmp_path, "vindr", positive="Tuberculosis")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_mimic(tmp_path, suffix):
    write_mimic(tmp_path)
    if suffix == ".csv.gz":
        for path in list(tmp_path.iterdir()):
            path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    listing = listed(tmp_path, "mimic", uncertain="ones")
    assert rows(listing) == [
        ("files/p10/p10000032/s50414267/aa-1.jpg", "normal", "10000032", "train"),
        ("files/p10/p10000764/s57375967/bb-1.jpg", "pneumonia", "10000764", "train"),
        ("files/p11/p11000001/s50000001/cc-1.jpg", "pneumonia", "11000001", "train"),
        ("files/p11/p11000002/s50000002/dd-1.jpg", "normal", "11000002", "val"),
        ("files/p11/p11000003/s50000003/ee-1.jpg", "pneumonia", "11000003", "val"),
    ]
    assert listing.left_out == {"other_view": 1, "unlabelled": 1}
    assert listed(tmp_path, "mimic").left_out == {"other_view": 1, "unlabelled": 1, "uncertain": 1}


def test_mimic_without_one_of_its_tables_or_a_split_is_refused(tmp_path):
    write_mimic(tmp_path)
    table = tmp_path / "mimic-cxr-2.0.0-split.csv"
    table.unlink()
    with refused(f"{tmp_path}: has no mimic-cxr-2.0.0-split.csv.gz or mimic-cxr-2.0.0-split.csv"):
        listed(tmp_path, "mimic")
    table.write_text(MIMIC_SPLIT.replace("cc-1", "xx-1"))
    with refused("mimic-cxr-2.0.0-metadata.csv: line 5: cc-1 is not in mimic-cxr-2.0.0-split.csv"):
        listed(tmp_path, "mimic")
