"""`cxr predict` gives the pipeline's probabilities, reads each file once and reports each it cannot read."""

import hashlib
import itertools
import json
import re
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cxr.commands import figures
from cxr.commands.radiographs import AHEAD
from cxr.data.phantom.cohort import make_phantoms
from cxr.data.radiograph import Original, read_radiograph
from cxr.inference import onnx_session
from cxr.inference.calibration import load_calibration
from cxr.inference.gradcam import gradcam
from cxr.models import classifier
from cxr.models.classifier import load_classifier
from tests.builders import (
    dicom,
    dicom_bytes,
    edit_export,
    files_below,
    make_export_unlike,
    noise_images,
    save_export,
    small_classifier,
)

CLASSES = ["normal", "pneumonia", "tuberculosis"]


@pytest.fixture(scope="module")
def exported(exported_run, tmp_path_factory) -> dict[int, Path]:
    """Folders with an untrained model, by its number of classes."""
    three = tmp_path_factory.mktemp("three")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(three)
        save_export(small_classifier(classes=CLASSES, outputs=CLASSES, output_classes=[0, 1, 2]))
    return {2: exported_run, 3: three}


@pytest.fixture
def save_model(exported, run) -> Callable[..., None]:
    """Writes models/ into the working directory, which `run` has set."""

    def save(classes: int = 2, **facts: object) -> None:
        shutil.copytree(exported[classes] / "models", "models", dirs_exist_ok=True)
        edit_export(Path(), **({"threshold": 0.3} if classes == 2 else {}), **facts)

    return save


def save_images(count: int) -> list[str]:
    """Files with images of 40 pixels, each darker than the one before."""
    names = []
    for number, image in enumerate(noise_images(count, size=40)):
        names.append(f"radiograph {number}.{'png' if number % 2 else 'jpg'}")
        Image.fromarray(image // (number + 1)).save(names[-1])
    return names


@pytest.mark.parametrize("classes", [2, 3])
def test_printed_probabilities_are_the_pipelines(run, save_model, classes):
    save_model(classes)
    paths = save_images(6)
    images = np.stack([read_radiograph(name, 16, "medmnist") for name in paths])
    raw = classifier.predict(load_classifier(), images, torch.device("cpu")).mean
    expected = load_calibration()(raw)
    threshold = float(np.median(expected[:, 1]))  # so that the untrained network decides both ways
    edit_export(Path(), threshold=threshold if classes == 2 else None)
    code, out, err = run("predict", *paths)
    assert (code, err) == (0, [])

    assert [name for name in CLASSES if f"p({name})" in out[0]] == CLASSES[:classes]
    decisions = set()
    for name, line, p in zip(paths, out[1:7], expected, strict=True):
        assert line.startswith(f"{name} ")
        *numbers, decision, p_value = line.removeprefix(name).split()[: classes + 2]
        assert [float(number) for number in numbers] == pytest.approx(p, abs=5.1e-4)
        named = int(p[1] >= threshold) if classes == 2 else int(p.argmax())
        assert decision == CLASSES[named]
        decisions.add(decision)
        assert 0 < float(p_value) <= 1
    assert len(decisions) > 1  # otherwise the decision has not been tested
    assert out[-1] == "For research only, not for diagnosis."
    assert any(f"p = {threshold:.3f} (calibrate.threshold)" in line for line in out) == (classes == 2)


def test_prediction_does_not_depend_on_the_other_files(run, save_model):
    save_model()
    paths = save_images(3)
    together, alone = run("predict", *paths)[1], run("predict", paths[1])[1]
    assert together[2].split() == alone[1].split()


def test_unreadable_files_do_not_hide_the_others(run, save_model):
    save_model()
    good = save_images(2)
    Path("notes.txt").write_text("Not a radiograph.\n")
    Path("cut.png").write_bytes(Path(good[1]).read_bytes()[:200])
    code, out, err = run("predict", "notes.txt", good[0], "missing.png", "cut.png", good[1])
    assert code == 1
    assert err[0] == "error: notes.txt: not a PNG, JPEG, DICOM, WebP, BMP or TIFF file"
    assert err[1] == "error: missing.png: no such file"
    assert re.match("error: cut.png: damaged or unreadable image", err[2])
    assert len(err) == 3
    assert [line.split(".")[0] for line in out[1:3]] == ["radiograph 0", "radiograph 1"]


def test_nothing_readable_prints_nothing(run, save_model):
    save_model()
    Path("notes.txt").write_text("Not a radiograph.\n")
    assert run("predict", "notes.txt") == (
        1,
        [],
        ["error: notes.txt: not a PNG, JPEG, DICOM, WebP, BMP or TIFF file"],
    )


def test_missing_model_is_one_line(run):
    code, out, err = run("predict", *save_images(1))
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith("error: models/classifier.onnx: no model here; name an exported .onnx file")
    Path("dvc.yaml").touch()
    code, out, err = run("predict", *save_images(1))
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith("error: models/classifier.onnx: no model here; build it with `dvc repro`")
    assert "`dvc pull`" in err[0]


def test_a_model_can_be_named(run, exported, tmp_path):
    """As a file, or as a folder with or without models/; its run need not be here."""
    paths = save_images(2)
    home = exported[2]
    shutil.copy(home / onnx_session.PATH, tmp_path / "classifier.onnx")
    expected = run("predict", *paths, "--model", str(home))
    assert expected[0] == 0
    for model in (str(home / onnx_session.PATH), "classifier.onnx", "."):
        assert run("predict", *paths, "--model", model) == expected


@pytest.mark.parametrize("classes", [2, 3])
def test_json_and_table_agree(run, save_model, classes):
    save_model(classes)
    prevalence = [1 / classes] * classes
    paths = save_images(3)
    table = run("predict", *paths)[1]
    code, out, err = run("predict", *paths, "none.png", "--json")
    document = json.loads("\n".join(out))
    assert (code, err) == (1, ["error: none.png: no such file"])
    assert document["errors"] == [{"path": "none.png", "message": "no such file"}]
    assert document["classes"] == CLASSES[:classes]
    assert document["threshold"] == (0.3 if classes == 2 else None)
    assert document["prevalence"] == pytest.approx(dict(zip(CLASSES[:classes], prevalence, strict=True)))
    for key, path in (("model_sha256", onnx_session.PATH), ("classifier_sha256", classifier.WEIGHTS)):
        assert document[key] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert document["notice"] == "For research only, not for diagnosis."
    for image, name, line in zip(document["images"], paths, table[1:4], strict=True):
        assert list(image) == ["path", "probabilities", "decision", "typicality", "unlike", "unlike_reason"]
        assert list(image["probabilities"]) == CLASSES[:classes]
        assert sum(image["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        numbers = [f"{p:.3f}" for p in image["probabilities"].values()]
        shown = [*name.split(), *numbers, image["decision"], f"{image['typicality']:.3f}"]
        assert line.split()[: len(shown)] == shown


def test_images_unlike_the_training_images_are_marked(run, save_model):
    save_model()
    paths = save_images(2)
    make_export_unlike(Path())
    table = run("predict", *paths)[1]
    images = json.loads("\n".join(run("predict", *paths, "--json")[1]))["images"]
    for image, line in zip(images, table[1:3], strict=True):
        assert (image["typicality"], image["unlike"]) == (pytest.approx(1 / 41, abs=1e-6), True)
        assert image["unlike_reason"] in line
        assert "unlike the training images: low correlation of its pixels" in line
    assert sum(line.startswith("Typicality below 0.05") for line in table) == 1

    edit_export(Path(), val_distances=[[1e9, 1e9]] * 40)
    table = run("predict", *paths)[1]
    (image, _) = json.loads("\n".join(run("predict", *paths, "--json")[1]))["images"]
    assert (image["typicality"], image["unlike"], image["unlike_reason"]) == (1, False, None)
    assert "unlike" not in " ".join(table)


def test_json_is_a_document_even_without_an_image(run, save_model):
    save_model(prevalence=None)
    code, out, _ = run("predict", "none.png", "--json")
    document = json.loads("\n".join(out))
    assert (code, document["images"], document["prevalence"]) == (1, [], None)


def test_a_folder_is_all_its_images(run, save_model):
    save_model()
    images = Path("images")
    images.mkdir()
    for name in save_images(3):
        Path(name).rename(images / name)
    listed = run("predict", *sorted(str(path) for path in images.iterdir()))
    assert run("predict", "images") == listed


def test_same_image_as_jpeg_and_as_dicom_gets_the_same_probability(run, save_model):
    """Of 8 bits, 12 in 16 with a window, 16 bits, each way round."""
    save_model()
    names = []
    for number, image in enumerate(make_phantoms((2, 2), 200, 0, "test").images):
        image = image // (number + 1)  # an untrained network distinguishes brightness at most
        Image.fromarray(image).save(f"{number}.jpg", quality=98)
        deep = image.astype(np.uint16)
        window = {"WindowCenter": 2048, "WindowWidth": 4081}
        versions = {
            "8": dicom(image),
            "8 mono1": dicom(255 - image, "MONOCHROME1"),
            "12": dicom(deep * 16, bits=12, **window),
            "16": dicom(deep * 257),
            "16 mono1": dicom(65535 - deep * 257, "MONOCHROME1"),
            "signed": dicom((deep.astype(np.int16) - 128) * 256),
        }
        names.append([f"{number}.jpg", *(f"{number} {version}.dcm" for version in versions)])
        for version, dataset in versions.items():
            Path(f"{number} {version}.dcm").write_bytes(dicom_bytes(dataset))
    code, out, err = run("predict", *itertools.chain(*names), "--json")
    assert (code, err) == (0, [])
    images = json.loads("\n".join(out))["images"]
    predicted = {image["path"]: image["probabilities"]["pneumonia"] for image in images}
    of_image = np.array([[predicted[name] for name in versions] for versions in names])
    assert np.ptp(of_image[:, 0]) > 0.05  # otherwise the test would pass with any radiographs
    assert abs(of_image - of_image[:, :1]).max() < 0.006
    np.testing.assert_array_equal(of_image[:, 4:6], of_image[:, [1, 1]])  # without loss


def test_explanation_is_of_the_decision(run, save_model, monkeypatch):
    save_model()
    names, drawn = save_images(6), []
    before = json.loads("\n".join(run("predict", *names, "--json")[1]))["images"]
    middle = float(np.median([image["probabilities"]["pneumonia"] for image in before]))
    edit_export(Path(), threshold=middle)
    monkeypatch.setattr(figures, "explanation_figure", lambda *arguments: drawn.append(arguments))
    code, out, err = run("predict", *names, "--explain", "maps/all.png", "--json")
    assert (code, err) == (0, [])
    images = json.loads("\n".join(out))["images"]
    assert {image["explanation"] for image in images} == {"maps/all.png"}
    stored = np.stack([read_radiograph(name, 16, "medmnist") for name in names])
    decided = np.array([CLASSES.index(image["decision"]) for image in images])
    assert len(set(decided)) == 2
    maps = gradcam(load_classifier(), stored, decided, torch.device("cpu"))
    ((path, cases),) = drawn
    assert path == Path("maps/all.png")
    for case, name, image, seen, activation in zip(cases, names, images, stored, maps, strict=True):
        assert (case.name, case.decision) == (name, image["decision"])
        assert case.probability == image["probabilities"][image["decision"]]
        np.testing.assert_array_equal(case.image, read_radiograph(name, 40))  # as the file has it
        np.testing.assert_array_equal(case.seen, seen)
        np.testing.assert_allclose(case.activation, activation, atol=1e-4)


def test_maps_of_a_head_that_is_not_linear_come_from_pytorch(run, save_model, monkeypatch):
    """In the folder of the run, whose weights the file was exported from; elsewhere it is one line."""
    save_model()
    (name,), drawn = save_images(1), []
    monkeypatch.setattr(figures, "explanation_figure", lambda *arguments: drawn.append(arguments[1][0]))
    assert run("predict", name, "--explain", "map.png")[0] == 0
    answer_each = onnx_session.OnnxModel.answer_each
    monkeypatch.setattr(
        onnx_session.OnnxModel, "answer_each", lambda *given: answer_each(*given)._replace(maps=None)
    )
    assert run("predict", name, "--explain", "map.png")[0] == 0
    np.testing.assert_allclose(drawn[0].activation, drawn[1].activation, atol=1e-4)
    classifier.WEIGHTS.write_bytes(b"of another run")
    code, out, err = run("predict", name, "--explain", "map.png")
    assert (code, out, len(err), len(drawn)) == (1, [], 1, 2)
    assert "no class activation maps; run in the folder of its run" in err[0]


def test_explanations_into_a_folder_are_a_figure_each(run, save_model):
    save_model()
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Image.fromarray(noise_images(1, 40)[0]).save(f"{folder}/image.png")
    before = Path("a/image.png").read_bytes()
    code, out, err = run("predict", "a", "b", "--explain", "a")
    assert (code, err) == (0, [])
    assert out[-2] == "Class activation maps: a"
    assert files_below(Path("a")) == ["image.png", "image_2_gradcam.png", "image_gradcam.png"]
    assert Path("a/image.png").read_bytes() == before


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("map.jpg", "--explain map.jpg: not the name of a .png file"),
        ("radiograph 1.png", "--explain radiograph 1.png: would overwrite a radiograph; choose another name"),
        ("all.png", "--explain all.png: one figure holds at most 2 radiographs; name a folder"),
    ],
)
def test_figures_that_cannot_be_drawn_are_one_line(run, save_model, monkeypatch, target, reason):
    save_model()
    paths = save_images(3)
    monkeypatch.setattr(figures, "ROWS", 2 if target == "all.png" else 20)
    before = files_below(Path())
    assert run("predict", *paths, "--explain", target) == (1, [], [f"error: {reason}"])
    assert files_below(Path()) == before


def test_nothing_readable_draws_nothing(run, save_model):
    save_model()
    assert run("predict", "none.png", "--explain", "maps")[0] == 1
    assert not Path("maps").exists()


def test_no_file_is_a_usage_error(run):
    code, out, err = run("predict")
    assert (code, out) == (2, [])
    assert "IMAGE" in err[-1]


def test_every_file_is_decoded_once(run, save_model, decoded):
    save_model()
    paths = save_images(5)
    Path("notes.txt").write_text("Not a radiograph.\n")
    for options in ([], ["--json"], ["--explain", "all.png"], ["--explain", "maps"]):
        assert run("predict", *paths, "notes.txt", *options)[0] == 1
        assert sorted(decoded) == sorted([*paths, "notes.txt"])
        decoded.clear()


def test_probabilities_and_names_do_not_depend_on_the_parts_of_a_large_folder(run, save_model, monkeypatch):
    """Squares at full resolution are in memory for a part of the folder only, and only if they are drawn."""
    save_model()
    Path("images").mkdir()
    for number, image in enumerate(noise_images(5 * AHEAD, size=40)):
        Image.fromarray(image).save(f"images/{number:03}.png")
    squares, most, drawn = [], [], []
    full = Original.full

    def counted(original: Original) -> np.ndarray:
        square = full(original)
        squares.append(weakref.ref(square))
        return square

    def draw(path: Path, rows: list[figures.Explained]) -> None:
        most.append(sum(square() is not None for square in squares))
        drawn.append((path, rows[0].name, len(rows)))

    monkeypatch.setattr(Original, "full", counted)
    monkeypatch.setattr(figures, "explanation_figure", draw)
    plain = json.loads("\n".join(run("predict", "images", "--json")[1]))["images"]
    assert squares == []
    explained = json.loads("\n".join(run("predict", "images", "--explain", "maps", "--json")[1]))["images"]
    names = [f"{number:03}" for number in range(5 * AHEAD)]
    assert drawn == [(Path(f"maps/{name}_gradcam.png"), f"{name}.png", 1) for name in names]
    assert [image.pop("explanation") for image in explained] == [str(path) for path, _, _ in drawn]
    for image, other in zip(explained, plain, strict=True):
        assert image["probabilities"] == pytest.approx(other["probabilities"], abs=2e-6)
    assert max(most) <= 2 * AHEAD + 1


def test_figures_of_one_folder_have_different_names(run, save_model, monkeypatch):
    save_model()
    drawn = []
    monkeypatch.setattr(figures, "explanation_figure", lambda path, rows: drawn.append(path.name))
    for name in ("a/1.png", "a/1_2.png", "b/1.png", "c/1.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise_images(1, 40)[0]).save(name)
    assert run("predict", "a", "b", "c", "--explain", "maps")[0] == 0
    assert drawn == [f"{stem}_gradcam.png" for stem in ("1", "1_2", "1_3", "1_4")]


def test_files_that_may_identify_their_patient_are_named_and_no_value_of_them(run, save_model):
    save_model()
    image = noise_images(1, size=40)[0]
    Path("named.dcm").write_bytes(dicom_bytes(dicom(image, BurnedInAnnotation="YES")))
    nameless = {"PatientName": None, "PatientID": None, "PatientBirthDate": None}
    Path("removed.dcm").write_bytes(dicom_bytes(dicom(image, PatientIdentityRemoved="YES", **nameless)))
    save_images(2)
    code, out, err = run("predict", ".", "--json", "--deidentified-check")
    why = "has values in PatientName, PatientID, PatientBirthDate; PatientIdentityRemoved is not YES; "
    why += "BurnedInAnnotation is YES"
    assert (code, err) == (0, [f"warning: named.dcm: may identify its patient: {why}"])
    document = json.loads("\n".join(out))
    assert document["identifying"] == [{"path": "named.dcm", "message": why}]
    assert len(document["images"]) == 4
    unchecked = run("predict", ".", "--json")
    assert (unchecked[0], unchecked[2]) == (0, [])
    assert json.loads("\n".join(unchecked[1])) == document | {"identifying": None}
    assert not re.search("Secret|SECRET|1901", str([out, err, run("predict", ".", "--deidentified-check")]))
