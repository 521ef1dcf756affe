"""Small data sets in the layouts as published: which images, classes, patients and splits come of them."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from cxr.data.table.listing import Listing, list_images
from tests.builders import refused, settings, write_tree

NIH = """\
Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\
OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],
00000001_000.png,Cardiomegaly|Pneumonia,0,1,058Y,M,PA,2682,2749,0.143,0.143,
00000001_001.png,No Finding,1,1,058Y,M,PA,2894,2729,0.143,0.143,
00000002_000.png,Pneumonia,0,2,081Y,M,AP,2500,2048,0.171,0.171,
00000003_000.png,No Finding,0,3,081Y,F,PA,2582,2991,0.143,0.143,
00000003_001.png,Hernia,1,3,074Y,F,PA,2500,2048,0.168,0.168,
"""
FINDINGS = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,"
    "Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
CHEXPERT = f"""\
Path,Sex,Age,Frontal/Lateral,AP/PA,{FINDINGS}
CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0
CheXpert-v1.0-small/train/patient00002/study1/view1_frontal.jpg,Female,87,Frontal,AP,,,,,,,,1.0,,,1.0,,,
CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg,Female,87,Lateral,,,,,,,,,1.0,,,1.0,,,
CheXpert-v1.0-small/train/patient00003/study2/view1_frontal.jpg,Male,41,Frontal,AP,,,,,,1.0,,-1.0,,,,,,
CheXpert-v1.0-small/train/patient00004/study1/view1_frontal.jpg,Female,20,Frontal,PA,,,,,,,,0.0,,1.0,,,,
"""
VINDR = "Edema,Pneumonia,Tuberculosis,Other diseases,No finding"
VINDR_TRAIN = f"""\
image_id,rad_ID,{VINDR}
aa,R1,0,1,0,0,0
bb,R1,0,0,0,0,1
aa,R2,0,1,0,0,0
bb,R2,0,0,0,0,1
aa,R3,0,0,0,0,1
cc,R3,0,1,0,0,0
cc,R4,0,0,0,0,1
cc,R5,0,0,0,0,1
bb,R3,1,0,0,0,0
"""
VINDR_TEST = f"image_id,{VINDR}\nee,0,1,0,0,0\nff,0,0,0,0,1\ngg,1,0,0,0,0\n"
MIMIC_LABELS = """\
subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,\
Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices
10000032,50414267,,,,,,,,,1.0,,,,,
10000764,57375967,,,1.0,,,,,,,,,-1.0,,
11000001,50000001,,,,,,,,,,,,1.0,,
11000002,50000002,,,,,,,,,1.0,,,,,
11000003,50000003,,,,,,,,,,,,1.0,,
"""
MIMIC_SPLIT = """\
dicom_id,study_id,subject_id,split
aa-1,50414267,10000032,train
aa-2,50414267,10000032,train
bb-1,57375967,10000764,train
cc-1,50000001,11000001,train
dd-1,50000002,11000002,validate
ee-1,50000003,11000003,validate
ff-1,50000009,11000009,test
"""
MIMIC_METADATA = """\
dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime
aa-1,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506,213014.531
aa-2,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506,213014.531
bb-1,10000764,57375967,CHEST (PA AND LAT),AP,2705,2539,21321015,83750.578
cc-1,11000001,50000001,"CHEST (PORTABLE AP), one view",AP,2705,2539,21321015,83750.578
dd-1,11000002,50000002,CHEST,PA,2705,2539,21321015,83750.578
ee-1,11000003,50000003,CHEST,PA,2705,2539,21321015,83750.578
ff-1,11000009,50000009,CHEST,PA,2705,2539,21321015,83750.578
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def listed(folder: Path, layout: str, **changes: Any) -> Listing:
    return list_images(settings("table", **{"layout": layout, "positive": "Pneumonia"} | changes), folder)


def rows(listing: Listing) -> list[tuple[str, str, str, str]]:
    return list(zip(listing.paths, listing.classes, listing.patients, listing.splits, strict=True))


@pytest.fixture
def nih(tmp_path) -> Path:
    write(tmp_path, **{"Data_Entry_2017.csv": NIH})
    write(tmp_path, **{"train_val_list.txt": "00000001_000.png\n00000001_001.png\n"})
    write(tmp_path, **{"test_list.txt": "00000002_000.png\r\n00000003_000.png\r\n00000003_001.png\r\n"})
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
    write(tmp_path, **{"train.csv": CHEXPERT})
    listing = listed(tmp_path, "chexpert")
    assert rows(listing) == [
        ("train/patient00001/study1/view1_frontal.jpg", "normal", "patient00001", ""),
        ("train/patient00002/study1/view1_frontal.jpg", "pneumonia", "patient00002", ""),
    ]
    assert listing.left_out == {"other_view": 1, "uncertain": 1, "other_labels": 1}
    ones = listed(tmp_path, "chexpert", uncertain="ones", others="negative", views="all")
    assert ones.classes == ["no pneumonia", "pneumonia", "pneumonia", "pneumonia", "no pneumonia"]
    zeros = listed(tmp_path, "chexpert", uncertain="zeros", others="negative")
    assert zeros.classes == ["no pneumonia", "pneumonia", "no pneumonia", "no pneumonia"]


def test_chexpert_names_patients_in_its_paths(tmp_path):
    write(tmp_path, **{"train.csv": CHEXPERT.replace("patient00003/", "")})
    with refused("train.csv: line 5: 'CheXpert-v1.0-small/train/study2/view1_frontal.jpg' names no patient"):
        listed(tmp_path, "chexpert")


def test_a_finding_that_a_layout_lacks_is_refused_with_its_columns(tmp_path):
    write(tmp_path, **{"train.csv": CHEXPERT})
    with refused("train.csv: has no column 'Pneumonitis'; it has Path, Sex, ", ", Pneumonia, Atelectasis"):
        listed(tmp_path, "chexpert", positive="Pneumonitis")
    with refused("params.yaml: table.positive is none, but this table has a column for each finding"):
        listed(tmp_path, "chexpert", positive="none")


@pytest.mark.parametrize("folder", ["annotations", "."])
def test_vindr(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    write(tmp_path / folder, **{"image_labels_train.csv": VINDR_TRAIN, "image_labels_test.csv": VINDR_TEST})
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
    tables = {"chexpert": MIMIC_LABELS, "split": MIMIC_SPLIT, "metadata": MIMIC_METADATA}
    for name, text in tables.items():
        content = text.encode()
        path = tmp_path / f"mimic-cxr-2.0.0-{name}{suffix}"
        path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
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
    write(tmp_path, **{"mimic-cxr-2.0.0-chexpert.csv": MIMIC_LABELS})
    with refused(f"{tmp_path}: has no mimic-cxr-2.0.0-split.csv.gz or mimic-cxr-2.0.0-split.csv"):
        listed(tmp_path, "mimic")
    write(tmp_path, **{"mimic-cxr-2.0.0-split.csv": MIMIC_SPLIT.replace("cc-1", "xx-1")})
    write(tmp_path, **{"mimic-cxr-2.0.0-metadata.csv": MIMIC_METADATA})
    with refused("mimic-cxr-2.0.0-metadata.csv: line 5: cc-1 is not in mimic-cxr-2.0.0-split.csv"):
        listed(tmp_path, "mimic")
