"""Which images a table names, of which class, patient and split; and every mistake in it, before images are
read."""

import random
from pathlib import Path
from typing import Any

import pytest

from cxr.data.table.listing import Listing, list_images
from cxr.params import Table
from tests.builders import refused, settings

HEADER = "path,label,patient"
ROWS = ("b.png,sick,p2", "a.png,normal,p1", "c/d.dcm,normal,p1")


def described(
    folder: Path, *rows: str, header: str = HEADER, columns: dict[str, str] | None = None, **changes: Any
) -> Listing:
    """The images of a table with these rows. changes: of section `table`."""
    file = folder / "t.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    of_columns = settings("table").columns.replace(**(columns or {}))
    return list_images(settings("table", file=str(file), columns=of_columns, **changes), folder)


def by_path(listing: Listing) -> dict[str, str]:
    return dict(zip(listing.paths, listing.classes, strict=True))


def test_images_come_in_the_order_of_their_paths(tmp_path):
    listing = described(tmp_path, *ROWS)
    assert listing.paths == ["a.png", "b.png", "c/d.dcm"]
    assert listing.classes == ["normal", "sick", "normal"]
    assert listing.patients == ["p1", "p2", "p1"]
    assert listing.splits == ["", "", ""]
    assert (listing.rows, listing.left_out) == (3, {})
    shuffled = random.Random(0).sample(ROWS, 3)
    assert described(tmp_path, *shuffled) == listing


def test_columns_may_have_any_name_or_not_be_there(tmp_path):
    header, columns = "x,file,What is it", {"path": "file", "label": "What is it", "patient": "none"}
    listing = described(tmp_path, "1,a.png,sick", "2,b.png,normal", header=header, columns=columns)
    assert by_path(listing) == {"a.png": "sick", "b.png": "normal"}
    assert listing.patients == ["", ""]


@pytest.mark.parametrize("kind", ["path", "label", "patient", "split", "view"])
def test_a_column_that_is_not_there_is_named_with_its_setting(tmp_path, kind):
    with refused(
        f"t.csv: has no column 'Datei' (params.yaml: table.columns.{kind}); it has path, label, patient"
    ):
        described(tmp_path, *ROWS, columns={kind: "Datei"})


def test_a_table_without_paths_is_refused(tmp_path):
    with refused("t.csv: has no column 'none' (params.yaml: table.columns.path)"):
        described(tmp_path, *ROWS, columns={"path": "none"})


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("./c.png", "c.png"),
        ("d/../c.png", "c.png"),
        ("d\\e\\c.png", "d/e/c.png"),
        ("{folder}/d/c.png", "d/c.png"),
        ("ü ö.png", "ü ö.png"),
    ],
)
def test_a_path_is_that_below_the_folder(tmp_path, path, found):
    listing = described(tmp_path, *ROWS[:2], f"{path.format(folder=tmp_path)},sick,p3")
    assert found in listing.paths


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../c.png", "line 4: '../c.png' is not below"),
        ("d/../../c.png", "line 4: 'd/../../c.png' is not below"),
        ("..\\c.png", "is not below"),
        ("/elsewhere/c.png", "line 4: '/elsewhere/c.png' is not below"),
        (".", "line 4: '.' is not below"),
        ("C:\\data\\c.png", "line 4: 'C:\\\\data\\\\c.png' is a path of a Windows computer"),
        ("\\\\server\\c.png", "is a path of a Windows computer; write paths below download.folder"),
        ("", "line 4: names no image"),
    ],
)
def test_a_path_outside_of_the_folder_is_refused(tmp_path, path, message):
    with refused(f"{tmp_path}/t.csv: line 4: ", message):
        described(tmp_path, *ROWS[:2], f"{path},sick,p3")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "a.png,normal,p2",
            "line 5: a.png is of patient p2, but in line 3 of p1; an image belongs to one patient",
        ),
        ("./a.png,normal,", "line 5: a.png is of patient unknown, but in line 3 of p1"),
        ("a.png,sick,p1", "line 5: names a.png again, after line 3 (normal); an image has one row"),
    ],
)
def test_an_image_is_named_once(tmp_path, row, message):
    with refused(f"{tmp_path}/t.csv: {message}"):
        described(tmp_path, *ROWS, row)


def test_labels_that_were_not_declared_are_refused(tmp_path):
    assert by_path(described(tmp_path, *ROWS, labels=["normal", "sick"]))
    with refused(f"{tmp_path}/t.csv: line 5: the label 'sikc' is none of normal, sick"):
        described(tmp_path, *ROWS, "e.png,sikc,p9", labels=["normal", "sick"])
    with refused("params.yaml: table.positive is 'ill', which is none of table.labels: normal, sick"):
        described(tmp_path, *ROWS, labels=["normal", "sick"], positive="ill")


def test_a_row_without_a_label_is_left_out_and_counted(tmp_path):
    listing = described(tmp_path, *ROWS, "e.png,,p9", "f.png, ,p9")
    assert listing.left_out == {"unlabelled": 2}
    assert listing.rows == 5
    assert len(listing.paths) == 3


def test_several_labels_are_no_class(tmp_path):
    with refused("line 5: has the labels sick, normal; an image has one class", "table.positive"):
        described(tmp_path, *ROWS, "e.png,sick|normal,p9")


MANY = (
    "a.png,Pneumonia,1",
    "b.png,Mass|pneumonia |Edema,2",
    "c.png,no finding,3",
    "d.png,Mass,4",
    "e.png,No Finding|Pneumonia,5",
)


def test_a_finding_against_none(tmp_path):
    listing = described(tmp_path, *MANY, positive="Pneumonia")
    assert by_path(listing) == {"a.png": "pneumonia", "b.png": "pneumonia", "c.png": "normal"}
    assert listing.left_out == {"other_labels": 1, "contradictory": 1}


def test_a_finding_against_all_others(tmp_path):
    listing = described(tmp_path, *MANY, positive="Pneumonia", others="negative")
    assert by_path(listing) == {
        "a.png": "pneumonia",
        "b.png": "pneumonia",
        "c.png": "no pneumonia",
        "d.png": "no pneumonia",
    }


def test_a_finding_that_no_image_has_is_refused_with_the_labels(tmp_path):
    with refused("all are normal; left out: other_labels: 3; the labels in the table are: Pneumonia (2), Ma"):
        described(tmp_path, *MANY, positive="Pneumonie")


WIDE = "path,patient,Effusion,No Finding"


@pytest.mark.parametrize(
    ("uncertain", "classes", "left_out"),
    [
        ("ignore", {"a": "effusion", "d": "normal"}, {"other_labels": 2, "uncertain": 2}),
        ("ones", {"a": "effusion", "b": "effusion", "d": "normal"}, {"other_labels": 2, "contradictory": 1}),
        ("zeros", {"a": "effusion", "c": "normal", "d": "normal"}, {"other_labels": 3}),
    ],
)
def test_a_column_for_each_finding(tmp_path, uncertain, classes, left_out):
    rows = ("a,1,1.0,", "b,2,-1,0", "c,3,-1.0,1", "d,4,0,1.0", "e,5,,", "f,6,0.0,-1")
    listing = described(
        tmp_path, *rows, header=WIDE, columns={"label": "none"}, positive="effusion", uncertain=uncertain
    )
    assert by_path(listing) == classes
    assert listing.left_out == left_out


def test_a_column_for_each_finding_needs_the_finding_and_numbers(tmp_path):
    columns = {"label": "none"}
    with refused("params.yaml: table.positive is none, but this table has a column for each finding"):
        described(tmp_path, "a,1,1,", header=WIDE, columns=columns)
    with refused("t.csv: line 2: Effusion is 'yes'; allowed: 1, 0, -1 or nothing"):
        described(tmp_path, "a,1,yes,", header=WIDE, columns=columns, positive="Effusion")
    with refused("t.csv: has no column 'Edema'; it has path, patient, Effusion, No Finding"):
        described(tmp_path, "a,1,1,", header=WIDE, columns=columns, positive="Edema")


def test_frontal_views_alone_unless_said_otherwise(tmp_path):
    header, columns = f"{HEADER},view", {"view": "view"}
    rows = ("a,sick,1,pa", "b,normal,2,AP", "c,sick,3,Lateral", "d,normal,4,", "e,normal,5,FRONTAL")
    listing = described(tmp_path, *rows, header=header, columns=columns)
    assert listing.paths == ["a", "b", "e"]
    assert listing.left_out == {"other_view": 2}
    assert len(described(tmp_path, *rows, header=header, columns=columns, views="all").paths) == 5
    assert described(tmp_path, *rows, header=header, columns=columns, views=["lateral", ""]).paths == [
        "c",
        "d",
    ]


SPLIT = (f"{HEADER},split", {"split": "split"})
IN_SPLITS = [f"{s}{c}.png,{c},{s}{c},{s}" for s in ("train", "Validate", "TEST") for c in ("normal", "sick")]


def test_splits_of_the_table_are_kept(tmp_path):
    header, columns = SPLIT
    listing = described(tmp_path, *IN_SPLITS, header=header, columns=columns)
    assert dict(zip(listing.paths, listing.splits, strict=True)) == {
        "TESTnormal.png": "test",
        "TESTsick.png": "test",
        "Validatenormal.png": "val",
        "Validatesick.png": "val",
        "trainnormal.png": "train",
        "trainsick.png": "train",
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x.png,sick,trainsick,test", "line 8: patient trainsick is in test, and in train ({table}: line 3)"),
        (
            "x.png,sick,p,dev",
            "line 8: its split is 'dev'; allowed: train, val, valid, validate, validation, test",
        ),
        ("x.png,sick,p,", "line 8: its split is ''"),
    ],
    ids=["patient in two", "unknown", "empty"],
)
def test_splits_that_cannot_be_used_are_refused(tmp_path, row, message):
    header, columns = SPLIT
    with refused(message.format(table=tmp_path / "t.csv")):
        described(tmp_path, *IN_SPLITS, row, header=header, columns=columns)


def test_unknown_patients_are_in_no_two_splits(tmp_path):
    header, columns = SPLIT
    rows = [
        ",".join(["" if place == 2 else cell for place, cell in enumerate(r.split(","))]) for r in IN_SPLITS
    ]
    assert set(described(tmp_path, *rows, header=header, columns=columns).patients) == {""}


def test_folder_and_table_have_to_be_named(tmp_path):
    with refused(f"params.yaml: download.folder is '{tmp_path}/none', which is not a folder"):
        list_images(settings("table"), tmp_path / "none")
    with refused("params.yaml: table.file names no table", "data/table/README.md explains it"):
        list_images(settings("table"), tmp_path)
    with refused("params.yaml: table.file is for layout own; nih finds its tables in download.folder"):
        list_images(settings("table", layout="nih", file="t.csv"), tmp_path)
    assert isinstance(settings("table"), Table)
