"""Which label each radiograph gets, and every mistake in labels is one line."""

from pathlib import Path

import pytest

from cxr.commands.validate.labelled import find_labelled
from tests.builders import ROOT, refused, write_tree

CLASSES = ["normal", "pneumonia"]
FILMS = ROOT / "../shared/data/films"


def found(data: Path, classes: list[str] = CLASSES) -> dict[str, str]:
    labelled = find_labelled(data, classes)
    root = data if data.is_dir() else data.parent
    names = [path.relative_to(root).as_posix() for path in labelled.paths]
    return dict(zip(names, [classes[label] for label in labelled.labels], strict=True))


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    write_tree(folder, "a.png", "b.png")
    path = folder / "labels.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_class_folders_in_any_case_and_at_any_depth(tmp_path):
    write_tree(tmp_path, "NORMAL/1.png", "NORMAL/deep/2.png", "Pneumonia/1.png")
    assert found(tmp_path) == {
        "NORMAL/1.png": "normal",
        "NORMAL/deep/2.png": "normal",
        "Pneumonia/1.png": "pneumonia",
    }


def test_of_train_val_and_test_the_test_folder_is_read(tmp_path):
    names = ["train/normal/1.png", "test/normal/2.png", "test/pneumonia/3.png"]
    write_tree(tmp_path, *names)
    assert list(found(tmp_path)) == names[1:]
    assert find_labelled(tmp_path, CLASSES).source == "class folders of test (train not read)"
    (tmp_path / "test").rename(tmp_path / "val")
    assert sorted(found(tmp_path)) == [names[0], "val/normal/2.png", "val/pneumonia/3.png"]


def test_the_class_in_front_of_file_names(tmp_path):
    names = {"normal_1.png": "normal", "Pneumonia-2.png": "pneumonia", "normal mild 3.png": "normal"}
    write_tree(tmp_path, *names)
    assert found(tmp_path) == names
    write_tree(tmp_path, "normally.png")
    with refused("normally.png: no class", "folders named normal, pneumonia", "path and label"):
        find_labelled(tmp_path, CLASSES)


def test_the_longest_class_in_front_of_a_name_counts(tmp_path):
    write_tree(tmp_path, "normal_variant_1.png", "normal_1.png")
    assert found(tmp_path, ["normal", "normal_variant"]) == {
        "normal_variant_1.png": "normal_variant",
        "normal_1.png": "normal",
    }


@pytest.mark.skipif(not FILMS.is_dir(), reason="needs ../shared/data/films")
def test_twelve_real_radiographs():
    assert sorted(found(FILMS).values()) == ["normal"] * 6 + ["pneumonia"] * 6


def test_a_csv_with_patients(tmp_path):
    path = table(tmp_path, "\ufeffpath,label,patient\na.png, Normal ,x\nb.png,pneumonia,\n")
    assert found(path) == {"a.png": "normal", "b.png": "pneumonia"}
    assert find_labelled(path, CLASSES).patients == ["x", ""]


def test_patients_of_a_folder(tmp_path):
    write_tree(tmp_path, "normal/1.png", "pneumonia/2.png", "pneumonia/3.png")
    assert find_labelled(tmp_path, CLASSES).patients is None
    (tmp_path / "patients.csv").write_text("file,patient\nnormal/1.png,x\npneumonia/3.png,x\nother.png,y\n")
    assert find_labelled(tmp_path, CLASSES).patients == ["x", "", "x"]


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (
            ["covid/1.png", "normal/1.png"],
            ["covid/1.png: the folder 'covid' is not a class", "normal, pneumonia"],
        ),
        (["normal/1.png", "2.png"], ["2.png: lies beside class folders"]),
        (["test/normal/1.png", "test/2.png"], ["2.png: lies beside class folders"]),
        ([], ["no PNG, JPEG, DICOM, WebP, BMP or TIFF"]),
    ],
)
def test_mistakes_in_folders(tmp_path, names, parts):
    write_tree(tmp_path, *names)
    with refused(*parts):
        find_labelled(tmp_path, CLASSES)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("path;label\na.png;normal\n", ["no column 'path' in its first line (path;label)", "by commas"]),
        ("path,class\na.png,normal\n", ["no column 'label'"]),
        ("path,label\n", ["names no radiograph"]),
        ("", ["no column 'path'"]),
        (
            "path,label\na.png,normal\nb.png,covid\n",
            ["line 3: the label 'covid' is not a class of the model"],
        ),
        ("path,label\na.png,normal\nb.png\n", ["line 3: the label '' is not a class"]),
        ("path,label\nc.png,normal\n", ["line 2: no file", "c.png"]),
        ("path,label\n,normal\n", ["line 2: no file"]),
        ("path,label\n../a.png,normal\n", ["line 2: '../a.png' is outside of the folder"]),
        ("path,label\n/etc/hostname,normal\n", ["'/etc/hostname' is outside of the folder"]),
        ("path,label\na.png,normal\n./a.png,normal\n", ["line 3: './a.png' is named twice"]),
    ],
)
def test_mistakes_in_a_csv(tmp_path, text, parts):
    with refused("labels.csv", *parts):
        find_labelled(table(tmp_path / "images", text), CLASSES)


def test_a_csv_in_latin_1(tmp_path):
    with refused("labels.csv: not in UTF-8; save it as UTF-8"):
        find_labelled(table(tmp_path, "path,label\nmädchen.png,normal\n", "latin-1"), CLASSES)


def test_neither_a_folder_nor_a_csv(tmp_path):
    for name, part in (("none", "neither a folder nor a .csv file"), ("none.csv", "no such file")):
        with refused(name, part):
            find_labelled(tmp_path / name, CLASSES)
