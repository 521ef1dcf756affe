"""The stages download and split on a table: images, patients and what is left out arrive in the data set."""

from pathlib import Path

import numpy as np
import pytest

from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv, read_json
from cxr.data.manifest import IMAGES, LEFT_OUT, load_manifest
from cxr.data.radiograph import read_radiograph
from cxr.data.table.listing import list_images
from cxr.params import load_params
from stages import download, split
from tests.builders import dicom, dicom_bytes, files_below, noise_images, refused, write_params, write_tree
from tests.tables import write_chexpert, write_mimic, write_nih, write_vindr

COUNT = 60


@pytest.fixture
def own(tmp_path, monkeypatch):
    """60 radiographs of 20 patients, one of them DICOM, one broken, two lateral, as `own/` and `own.csv`."""
    monkeypatch.chdir(tmp_path)
    names = [f"p{number % 20:02}/{number:02}.png" for number in range(COUNT)]
    write_tree(tmp_path / "own", *names)
    (tmp_path / "own" / names[7]).write_bytes(b"no image")
    (tmp_path / "own" / names[8]).write_bytes(dicom_bytes(dicom(noise_images(1, 40)[0])))
    rows = [
        (name, "Mass|Pneumonia" if number % 20 < 12 else "No Finding", name[:3], "LL" if number < 2 else "PA")
        for number, name in enumerate(names)
    ]
    text = "\n".join(",".join(row) for row in [("Image", "Findings", "Patient", "View"), *rows])
    (tmp_path / "own.csv").write_text(text + "\n")

    def change(**changes):
        columns = {"path": "Image", "label": "Findings", "patient": "Patient", "view": "View"}
        write_params(
            tmp_path,
            {"download.source": "table", "download.folder": "own", "download.size": 16}
            | {"table.file": "own.csv", "table.positive": "Pneumonia", "table.max_broken": 0.02}
            | {f"table.columns.{kind}": name for kind, name in columns.items()}
            | {"split.method": "stratified", "split.by_patient": True}
            | changes,
        )

    change()
    return change


def test_images_and_patients_arrive_in_the_data_set(own, capsys):
    download.main()
    printed = capsys.readouterr()
    assert printed.out == "57 images of 16 x 16 pixels in 2 classes\n"
    assert printed.err.startswith("left out: p07/07.png: not a PNG, JPEG, DICOM")
    raw = load_manifest()
    assert raw.images.shape == (57, 16, 16)
    assert raw.sources == sorted(raw.sources)
    for source, image, name in zip(raw.sources, raw.images, raw.classes, strict=True):
        np.testing.assert_array_equal(image, read_radiograph(f"own/{source}", 16))
        assert name == ("pneumonia" if int(source[1:3]) < 12 else "normal")
    assert raw.patients == [source[:3] for source in raw.sources]

    split.main()

    data, rows = load_dataset(), read_csv("data/labels.csv")
    assert len(data.images) == 57
    of_patient: dict[str, set[str]] = {}
    for row in rows:
        of_patient.setdefault(row["group"], set()).add(row["split"])
    assert len(of_patient) == 20
    assert all(len(splits) == 1 for splits in of_patient.values())
    report = read_json("metrics/data.json")
    assert report["left_out"]["rows"] == COUNT
    assert report["left_out"]["by_reason"] == {"other_view": 2, "unreadable": 1}
    assert list(report["left_out"]["broken"]) == ["p07/07.png"]
    assert report["source"]["id"] == "table"


def test_one_image_of_two_patients_is_counted_and_printed(own, capsys):
    pixels = Path("own/p11/31.png").read_bytes()
    for copy in ("own/p02/22.png", "own/p02/42.png", "own/p03/23.png"):
        Path(copy).write_bytes(pixels)
    download.main()
    split.main()
    assert read_json("metrics/data.json")["duplicates"]["under_two_patients"] == 4
    assert "4 images are of two patients, pixel for pixel" in capsys.readouterr().out


def test_patients_of_a_table_are_not_ignored(own):
    own(**{"split.by_patient": False})
    download.main()
    with refused("params.yaml: split.by_patient is false, but the table names patients; set it to true"):
        split.main()
    own(**{"split.by_patient": False, "table.columns.patient": "none"})
    download.main()
    split.main()


def test_too_many_broken_images_leave_no_output(own, tmp_path):
    own(**{"table.max_broken": 0.0})
    with refused("own: 1 of the first", "table.max_broken (0) allows; the first: p07/07.png: not a PNG"):
        download.main()
    assert not [name for name in files_below(tmp_path) if name.startswith("data/")]


@pytest.mark.parametrize(
    ("layout", "write_tables"),
    [("nih", write_nih), ("chexpert", write_chexpert), ("vindr", write_vindr), ("mimic", write_mimic)],
)
def test_a_published_data_set_is_read(tmp_path, monkeypatch, layout, write_tables):
    """Its tables in its layout, with a picture at each path that they give; VinDr-CXR's are DICOM files."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "published"
    root.mkdir()
    write_tables(root)
    changes = {"download.source": "table", "download.folder": "published", "download.size": 16}
    write_params(tmp_path, changes | {"table.layout": layout, "table.positive": "Pneumonia"})
    paths = list_images(load_params().table, root).paths
    assert len(paths) >= 2
    if layout == "vindr":
        for number, path in enumerate(paths):
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_bytes(dicom_bytes(dicom(noise_images(1, 40, seed=number)[0])))
    else:
        write_tree(root, *paths)
    download.main()
    raw = load_manifest()
    assert raw.sources == paths
    assert set(raw.classes) == {"normal", "pneumonia"}
    assert raw.left_out["broken"] == {}
    for path, image in zip(paths, raw.images, strict=True):
        np.testing.assert_array_equal(image, read_radiograph(root / path, 16))


def test_a_second_run_gives_the_same_bytes(own):
    files = (IMAGES, LEFT_OUT, "data/raw/manifest.csv")
    download.main()
    first = [Path(file).read_bytes() for file in files]
    download.main()
    assert [Path(file).read_bytes() for file in files] == first
