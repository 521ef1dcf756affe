"""`cxr new` on folders and tables as people have them: what is recognised, found, written and refused."""

import csv
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cxr.data.table.listing import list_images
from cxr.params import load_params
from cxr.recipes import leaves
from scripts import workspace
from stages import download
from tests.builders import ROOT, dicom, dicom_bytes, noise_images, write_params, write_tree
from tests.tables import write_chexpert, write_mimic, write_nih, write_vindr

COMMITTED = dict(leaves(YAML(typ="safe").load(ROOT / "params.yaml")))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With params.yaml alone, committed."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copy(ROOT / "params.yaml", folder)
    workspace.call(folder, "git", "init", "--quiet")
    workspace.commit(folder, "parameters")
    return folder


@pytest.fixture
def new(run, repository, tmp_path):
    """Call `cxr new` on something in tmp_path, a repository: exit code, lines of stdout, of stderr."""
    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    return lambda name: run("new", str(tmp_path / name))


def changes() -> dict[str, Any]:
    """The values that differ from the committed ones, by dotted key."""
    written = dict(leaves(YAML(typ="safe").load(Path("params.yaml"))))
    return {key: value for key, value in written.items() if value != COMMITTED[key]}


def write_table(path: Path, *rows: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def untouched() -> bool:
    return Path("params.yaml").read_text() == (ROOT / "params.yaml").read_text()


def test_class_folders(new, tmp_path):
    write_tree(tmp_path / "own", "normal/a.png", "normal/b.png", "sick/c.jpg", "sick/d.png")
    (tmp_path / "own/sick/e.png").write_bytes((tmp_path / "own/normal/b.png").read_bytes())
    for seed, name in enumerate("fh"):  # as large as each other, but no copies
        (tmp_path / f"own/sick/{name}.dcm").write_bytes(dicom_bytes(dicom(noise_images(1, 60, seed=seed)[0])))
    (tmp_path / "own/sick/g.png").write_bytes(b"no image")
    code, out, err = new("own")
    assert (code, err) == (0, [])
    assert out[0] == f"{tmp_path}/own: class folders"
    assert "images: 8 in 2 classes: normal 2, sick 6" in out
    assert "patients: unknown; where one is in train and in test, results are too good" in out
    assert "files: .png 5, .dcm 2, .jpg 1" in out
    assert "sizes: 20 to 60 x 20 to 60 pixels; stored as 28 x 28 (download.size)" in out
    assert "copies: 1 files equal another one byte by byte" in out
    assert "unreadable: 1 of 8 that were read" in out
    assert "  sick/g.png: not a PNG, JPEG, DICOM, WebP, BMP or TIFF file" in out
    assert any(line.startswith("few images, all together: 2 of normal, 6 of sick") for line in out)
    assert changes() == {
        "download.source": "folder",
        "download.folder": f"{tmp_path}/own",
        "split.method": "stratified",
    }


def test_only_the_lines_of_the_values_change(new, tmp_path):
    write_tree(tmp_path / "own", "normal/a.png", "sick/b.png")
    new("own")
    diff = subprocess.run(["git", "diff", "--stat"], capture_output=True, text=True, check=True).stdout
    assert "3 insertions(+), 3 deletions(-)" in diff


def test_split_folders_with_patients(new, tmp_path):
    names = [f"{split}/{name}/{split}{name}.png" for split in ("Train", "val", "test") for name in ("a", "b")]
    write_tree(tmp_path / "own", *names)
    rows = [(name, name.split("/")[0]) for name in names]
    write_table(tmp_path / "own/patients.csv", ("file", "patient"), *rows)
    write_table(tmp_path / "own/other.csv", ("file", "label"), *rows)
    code, out, err = new("own")
    assert (code, err) == (0, [])
    assert "  other.csv in it was not read; name it to use it instead of the folders" in out
    assert "  test: 2 in 2 classes: a 1, b 1" in out
    assert "patients: 3" in out
    assert changes() == {"download.source": "folder", "download.folder": f"{tmp_path}/own"}


def test_patients_of_folders_stay_in_one_split(new, tmp_path):
    write_tree(tmp_path / "own", "a/1.png", "b/2.png")
    write_table(tmp_path / "own/patients.csv", ("file", "patient"), ("a/1.png", "x"), ("b/2.png", "y"))
    new("own")
    assert changes()["split.by_patient"] is True


OWN = (
    ("No", "Image", "Diagnosis", "Patient-ID", "Projection", "Comment"),
    ("1", "x/a.png", "Pneumonia|Effusion", "p1", "PA", "a, b"),
    ("2", "x\\b.png", "No finding", "p1", "AP supine", "x" * 300),
    ("3", "c.png", "Effusion", "p2", "LL", ""),
    ("4", "d.png", "Effusion", "p2", "PA", ""),
    ("5", "e.png", "", "p3", "PA", ""),
    ("6", "f.png", "Pneumonia", "p3", "PA", ""),
)


def test_a_table_beside_a_folder(new, tmp_path):
    """The paths are below a folder beside the table, whose columns have names of their own."""
    write_tree(tmp_path / "hospital/films", "x/a.png", "x/b.png", "c.png", "d.png", "e.png")
    write_table(tmp_path / "hospital/list.csv", *OWN)
    code, out, err = new("hospital")
    assert (code, err) == (0, [])
    root = tmp_path / "hospital"
    assert out[0] == f"{root}/list.csv: a table of 6 images below {root}/films"
    assert "  view     Projection: AP supine, PA are used, not LL" in out
    assert "asked for is Pneumonia against No finding" in "\n".join(out)
    assert "images: 3 in 2 classes: normal 1, pneumonia 2" in out
    assert "rows left out: other labels 1, other view 1, unlabelled 1" in out
    assert "not there: 1 of 3, such as f.png" in out
    assert changes() == {
        "download.source": "table",
        "download.folder": f"{root}/films",
        "table.file": f"{root}/list.csv",
        "table.columns.path": "Image",
        "table.columns.label": "Diagnosis",
        "table.columns.patient": "Patient-ID",
        "table.columns.view": "Projection",
        "table.positive": "Pneumonia",
        "table.negative": "No finding",
        "table.views": ["AP supine", "PA"],
        "split.method": "stratified",
        "split.by_patient": True,
    }


def test_what_is_written_is_what_download_reads(new, tmp_path):
    names = [f"{name}{number}.png" for name in "ab" for number in range(4)]
    write_tree(tmp_path / "own", *names)
    write_table(tmp_path / "own/t.csv", ("path", "class"), *((name, name[0]) for name in names))
    assert new("own/t.csv")[0] == 0
    download.main()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [("file", "finding"), ("a.png", "healthy"), ("b.png", "asthma")],
            {"table.positive": "asthma", "table.negative": "healthy"},
        ),
        ([("file", "finding"), ("a.png", "flu"), ("b.png", "asthma")], {}),
        (
            [
                ("file", "sex", "Edema", "Mass"),
                ("a.png", "1", "1", "0"),
                ("b.png", "0", "", "1"),
                ("c.png", "0", "1", "0"),
            ],
            {"table.positive": "Edema", "table.others": "negative", "table.columns.label": "none"},
        ),
        (
            [
                ("file", "Edema", "Pneumonia", "No Finding"),
                ("a.png", "1.0", "1.0", ""),
                ("b.png", "", "", "1.0"),
            ],
            {"table.positive": "Pneumonia", "table.columns.label": "none"},
        ),
        (
            [("file", "label", "set"), ("a.png", "x", "train"), ("b.png", "y", "TEST")],
            {"table.columns.split": "set", "table.columns.label": "label", "split.method": "published"},
        ),
        (
            [("file", "label", "set"), ("a.png", "x", "1"), ("b.png", "y", "2")],  # folds are no splits
            {"table.columns.split": "none"},
        ),
        (
            [("file", "label", "view"), ("a.png", "x", "left"), ("b.png", "y", "right")],  # of a lateral film
            {"table.columns.view": "none"},
        ),
    ],
)
def test_labels_splits_and_views_of_a_table(new, tmp_path, rows, expected):
    write_tree(tmp_path / "own", "a.png", "b.png", "c.png")
    write_table(tmp_path / "own/t.csv", *rows)
    code, _, err = new("own/t.csv")
    assert (code, err) == (0, [])
    written = COMMITTED | changes()
    expected = {"table.positive": "none", "table.others": "leave_out"} | expected
    assert {key: written[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("layout", "write_tables", "table"),
    [
        ("nih", write_nih, "Data_Entry_2017.csv"),
        ("chexpert", write_chexpert, "train.csv"),
        ("vindr", write_vindr, "annotations/image_labels_train.csv"),
        ("mimic", write_mimic, "mimic-cxr-2.0.0-metadata.csv"),
    ],
)
@pytest.mark.parametrize("named", ["folder", "table"])
def test_published_layouts_are_known_by_their_tables(new, tmp_path, layout, write_tables, table, named):
    root = tmp_path / "published"
    (root / table).parent.mkdir(parents=True)
    write_tables((root / table).parent)
    for path in list_images(load_params().table.replace(layout=layout, positive="Pneumonia"), root).paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(dicom_bytes(dicom(noise_images(1, 40)[0])))
    code, out, err = new("published" if named == "folder" else f"published/{table}")
    assert (code, err) == (0, [])
    assert out[1].startswith(f"  known by {table}; asked for is Pneumonia")
    assert changes() == {
        "download.source": "table",
        "download.folder": str(root),
        "table.layout": layout,
        "table.positive": "Pneumonia",
    }


def test_earlier_settings_of_a_table_do_not_stay(new, tmp_path):
    write_params(tmp_path, {"table.labels": ["x"], "table.uncertain": "ones", "table.views": "all"})
    workspace.commit(tmp_path, "another table")
    write_tree(tmp_path / "own", "a.png", "b.png")
    write_table(tmp_path / "own/t.csv", ("file", "label"), ("a.png", "y"), ("b.png", "z"))
    assert new("own")[0] == 0
    table = load_params().table
    assert (table.labels, table.uncertain, table.views) == ("any", "ignore", ["PA", "AP", "Frontal"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("file", "label"), ("z.png", "x")], "no column names files below"),
        ([("file", "age"), ("a.png", "60")], "no column is called label, finding, diagnosis or class"),
        ([("file", "No Finding"), ("a.png", "1")], "its labels are No Finding alone"),
        ([("file", "label"), ("a.png", "x"), ("b.png", "x")], "of the images that are used all are x"),
        ([("file", "label")], "has no rows"),
        ([("file", "file"), ("a.png", "b.png")], "its columns have no names, or all the same"),
        (
            [("file", "label", "pid", "split"), ("a.png", "x", "1", "train"), ("b.png", "y", "1", "test")],
            "patient 1 is in test, and in train",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused(new, tmp_path, rows, message):
    write_tree(tmp_path / "own", "a.png", "b.png")
    write_table(tmp_path / "own/t.csv", *rows)
    code, out, err = new("own")
    assert (code, out, len(err)) == (1, [], 1)
    assert message in err[0]
    assert untouched()


def test_free_text_is_no_label(new, tmp_path):
    write_tree(tmp_path / "own", "a.png")
    texts = (("a.png", f"text {number}") for number in range(1001))
    write_table(tmp_path / "own/t.csv", ("file", "findings"), *texts)
    assert "column 'findings' has over 1,000 values, so they are no labels" in new("own")[2][0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.png"], "has only the class 'a'; a classifier needs two class folders"),
        (["train/a/1.png", "train/b/1.png"], "has train but no val, test; all three, or none"),
        (["1.png"], "has neither class folders nor a table (docs/own_data.md"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(new, tmp_path, names, message):
    write_tree(tmp_path / "own", *names)
    code, out, err = new("own")
    assert (code, out, len(err)) == (1, [], 1)
    assert message in err[0]
    assert untouched()


def test_what_is_neither_a_folder_nor_one_table_is_refused(new, tmp_path):
    assert new("absent")[2] == [f"error: {tmp_path}/absent: no such file or folder"]
    (tmp_path / "set.zip").write_bytes(b"PK")
    assert "set.zip: neither a folder nor a table (.csv, .csv.gz, .parquet, .pq)" in new("set.zip")[2][0]
    for name in ("a.csv", "b.csv"):
        write_table(tmp_path / "own" / name, ("file", "label"))
    assert "own: has 2 tables, a.csv, b.csv; name the one with a row for each image" in new("own")[2][0]
    write_table(tmp_path / "far/t.csv", ("file", "label"), ("a.png", "x"), ("b.png", "y"))
    assert "no column names files below" in new("far")[2][0]
    assert untouched()


def test_changes_that_are_not_committed_are_not_overwritten(new, tmp_path):
    write_tree(tmp_path / "own", "a/1.png", "b/2.png")
    assert new("own")[0] == 0
    written = Path("params.yaml").read_text()
    code, out, err = new("own")
    assert (code, out, Path("params.yaml").read_text()) == (1, [], written)
    assert err[0].startswith("error: params.yaml: has changes that are not committed; commit them, or drop")
    workspace.call(tmp_path, "git", "checkout", "--quiet", "params.yaml")
    assert new("own")[0] == 0


def test_outside_of_a_repository_nothing_is_written(run, tmp_path):
    write_tree(tmp_path / "own", "a/1.png", "b/2.png")
    assert run("new", "own")[2] == ["error: params.yaml: no such file; run from the repository's root"]
    write_params(tmp_path, {})
    assert run("new", "own")[2][0].startswith("error: params.yaml: is not in a Git repository")
    assert untouched()
