"""`cxr validate` as a user runs it, with an exported model: metrics, pictures, refusals, and no PyTorch."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from cxr.commands.validate.page import MOST
from cxr.core.files import read_json
from cxr.data.radiograph import read_radiograph
from cxr.inference.onnx_session import OnnxModel
from tests.builders import ROOT, dicom, dicom_bytes, files_below, noise_images

COUNTS = {"normal": 14, "pneumonia": 18}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of noise. The untrained model gives dark images a higher probability of pneumonia than
    bright ones, around its threshold of 0.4, and reaches 0.5 for none."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(1)
    for label, (name, count) in enumerate(COUNTS.items()):
        (root / name.upper()).mkdir()
        for number in range(count):
            # Every sixth is as dark or as bright as the other class.
            level = 20 if bool(label) == bool(number % 6) else 150
            image = generator.normal(level, 40, (20, 24)).clip(0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / name.upper() / f"{name[0]}{number:02}.png")
    return root


@pytest.fixture
def model(exported_run: Path) -> list[str]:
    return ["--model", str(exported_run / "models/classifier.onnx")]


def test_metrics_are_scikit_learns(run, images, model, exported_run):
    code, out, err = run("validate", str(images), *model, "--json", "result.json")
    assert (code, err) == (0, [])
    found = read_json("result.json")
    onnx = OnnxModel((exported_run / "models/classifier.onnx").read_bytes(), 1)
    facts = onnx.facts
    paths = sorted(images.rglob("*.png"))
    p = onnx(np.stack([read_radiograph(path, facts.size, facts.reading) for path in paths])).probabilities[
        :, 1
    ]
    labels = np.array([path.parent.name == "PNEUMONIA" for path in paths]).astype(int)

    value = {name: metric["value"] for name, metric in found["metrics"].items()}
    expected = {
        "auc": metrics.roc_auc_score(labels, p),
        "average_precision": metrics.average_precision_score(labels, p),
        "brier": metrics.brier_score_loss(labels, p),
        "log_loss": metrics.log_loss(labels, p.astype(float)),
    }
    for ending, decided in (("", p >= facts.threshold), ("_at_one_half", p >= 0.5)):
        expected |= {
            f"accuracy{ending}": metrics.accuracy_score(labels, decided),
            f"balanced_accuracy{ending}": metrics.balanced_accuracy_score(labels, decided),
            f"sensitivity{ending}": metrics.recall_score(labels, decided),
            f"specificity{ending}": metrics.recall_score(labels, decided, pos_label=0),
            f"f1_pneumonia{ending}": metrics.f1_score(labels, decided),
        }
    expected["ppv"] = metrics.precision_score(labels, p >= facts.threshold)
    assert "ppv_at_one_half" not in value  # nothing is called pneumonia
    assert {name: value[name] for name in expected} == pytest.approx(expected, abs=2e-6)
    assert len({number for number in expected.values() if 0 < number < 1}) > 8
    for metric in found["metrics"].values():
        assert metric["low"] <= metric["value"] <= metric["high"]
    decided = p >= facts.threshold
    assert found["confusion"]["released"] == metrics.confusion_matrix(labels, decided).tolist()
    assert found["data"]["of_class"] == COUNTS
    assert [image["path"] for image in found["images"]] == [str(path) for path in paths]
    wrong = np.flatnonzero(decided != labels)
    assert found["misclassified"] == wrong[np.argsort(np.where(labels, p, 1 - p)[wrong])].tolist()
    assert len(wrong) > 2

    assert (
        found["metrics"]["auc"]["test"]["value"]
        == read_json(exported_run / "metrics/test.json")["auc"]["ensemble"]
    )
    assert out[0] == found["sentence"]
    assert f"  {'AUC':32}{value['auc']:.3f} (" in "\n".join(out)


class Links(HTMLParser):
    """All that a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]


def test_the_page_has_its_pictures_inside(run, images, model):
    Path("page").mkdir()
    Path("page/index.html").write_text("an old page")
    broken = Path("more") / "NORMAL"
    shutil.copytree(images, "more")
    (broken / "<b>broken.png").write_text("not a radiograph")
    code, out, err = run("validate", "more", *model, "--page", "page", "--json", "result.json")
    assert code == 1
    assert err == ["error: more/NORMAL/<b>broken.png: not a PNG, JPEG, DICOM, WebP, BMP or TIFF file"]
    assert out[-1] == "Page: page/index.html"
    assert files_below(Path("page")) == ["index.html"]
    text, found = Path("page/index.html").read_text(), read_json("result.json")
    links = Links(text)
    assert not {"script", "link", "iframe", "b"} & set(links.tags)
    assert links.urls
    assert all(url.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for url in links.urls)
    assert "http" not in text
    wrong = [found["images"][position] for position in found["misclassified"]]
    worst = [
        Path(image["path"]).name
        for label in COUNTS
        for image in [image for image in wrong if image["label"] == label][: MOST // 2]
    ]
    assert len({image["label"] for image in wrong}) == 2
    assert sum(url.startswith("data:image/jpeg") for url in links.urls) == len(worst)
    for name in worst:
        assert text.count(f"<figcaption>{name}<br>") == 1
    assert "more/NORMAL/&lt;b&gt;broken.png: not a PNG" in text
    assert found["data"]["errors"] == [
        {"path": "more/NORMAL/<b>broken.png", "message": "not a PNG, JPEG, DICOM, WebP, BMP or TIFF file"}
    ]
    assert "not a\nmedical device" in text
    assert found["verdict"].capitalize() in text


def test_a_csv_with_patients_says_what_its_intervals_count(run, images, model):
    paths = sorted(images.rglob("*.png"))
    shutil.copytree(images, "copy")
    with Path("copy/labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient"])
        writer.writerows(
            (path.relative_to(images), path.parent.name, f"{path.parent.name}{number // 3}")
            for number, path in enumerate(paths)
        )
    run("validate", str(images), *model, "--json", "independent.json")
    code, out, _ = run("validate", "copy/labels.csv", *model, "--json", "patients.json")
    assert code == 0
    alone, grouped = read_json("independent.json"), read_json("patients.json")
    assert (alone["data"]["patients"], grouped["data"]["patients"]) == (None, 12)
    assert "Intervals take 12 patients, not images, for independent cases." in out
    for name in ("sensitivity", "specificity_at_one_half", "auc"):
        a, b = alone["metrics"][name], grouped["metrics"][name]
        assert a["value"] == b["value"]
        assert b["high"] - b["low"] > 1.1 * (a["high"] - a["low"])


def test_one_class_alone(run, images, model):
    shutil.copytree(images / "NORMAL", "one/normal")
    code, _, _ = run("validate", "one", *model, "--json", "result.json", "--page", "page.html")
    assert code == 0
    found = read_json("result.json")
    assert set(found["metrics"]) == {"specificity", "specificity_at_one_half"}
    assert found["ece_by_chance"] is None
    assert found["verdict"] in ("cannot tell", "worse than on test")
    assert Path("page.html").read_text().count("data:image/png") == 1


def test_three_classes(run, three_class_run):
    code, out, err = run(
        "validate",
        str(three_class_run / "images"),
        *("--model", str(three_class_run / "models/classifier.onnx")),
        *("--json", "result.json", "--page", "page.html"),
    )
    assert (code, err) == (0, [])
    found = read_json("result.json")
    assert found["data"]["of_class"] == {"normal": 4, "pneumonia": 4, "tuberculosis": 4}
    assert {"auc_ovr_macro", "recall_tuberculosis", "f1_macro"} <= set(found["metrics"])
    # The same radiographs as in test, read from their files.
    assert found["metrics"]["auc_ovr_macro"]["value"] == pytest.approx(
        found["metrics"]["auc_ovr_macro"]["test"]["value"], abs=1e-5
    )
    assert any("12 of 12 radiographs are images of the model's own test split" in line for line in out)


def test_test_results_of_another_model_are_not_compared_with(run, images, exported_run):
    for name, expected in (
        ("metrics/test.json", "home/metrics/test.json describes another model"),
        ("metrics/export.json", "no home/metrics/export.json here"),
    ):
        shutil.copytree(exported_run, "home", dirs_exist_ok=True)
        if name == "metrics/test.json":
            Path("home", name).write_text("{}")
        else:
            Path("home", name).unlink()
        code, out, _ = run("validate", str(images), "--model", "home/models/classifier.onnx")
        assert code == 0
        assert out[0] == f"Not compared: {expected}, so there are no test results to compare with."
        assert any(line.startswith("  AUC") and line.endswith(" -") for line in out)


def test_predictions_of_another_run_are_refused(run, images, exported_run):
    shutil.copytree(exported_run, "home")
    path = Path("home/metrics/predictions.csv")
    path.write_text(path.read_text().replace(",test,normal", ",test,pneumonia", 3))
    code, out, err = run("validate", str(images), "--model", "home/models/classifier.onnx")
    assert (code, out) == (1, [])
    assert re.fullmatch(r"error: home/metrics/predictions.csv: has \w+ .* run `dvc repro evaluate`", err[0])


def test_what_makes_the_result_doubtful_is_a_warning(run, images, model, exported_run):
    shutil.copytree(exported_run, "home")
    Path("squares/normal").mkdir(parents=True)
    for number in range(3):
        source = Image.open(images / "NORMAL" / f"n0{number}.png").crop((0, 0, 20, 20))
        source.save(f"squares/normal/{number}.png")
        source.save(f"squares/normal/{number}_again.png")
    code, out, _ = run("validate", "squares", "--model", "home/models/classifier.onnx")
    assert code == 0
    assert any(line.startswith("Warning: All images are squares of 20 x 20 pixels.") for line in out)
    assert any(line.startswith("Warning: 3 radiographs repeat others") for line in out)
    _, out, _ = run("validate", str(images), "--model", "home/models/classifier.onnx")
    assert not [line for line in out if line.startswith("Warning")]


def test_files_that_may_identify_their_patients_are_counted(run, model):
    for number, image in enumerate(noise_images(6, 20)):
        folder = Path("named", ["normal", "pneumonia"][number % 2])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.dcm").write_bytes(dicom_bytes(dicom(image[:, :18])))
    arguments = ["validate", "named", *model, "--json", "result.json", "--page", "page.html"]
    code, out, err = run(*arguments, "--deidentified-check")
    warning = "6 of 6 files may identify their patients by DICOM tags or burnt-in text"
    assert (code, len(err)) == (0, 6)
    assert any(line.startswith(f"Warning: {warning}") for line in out)
    assert read_json("result.json")["data"]["warnings"][0].startswith(warning)
    written = "".join(Path(name).read_text() for name in ("result.json", "page.html"))
    assert warning in written
    assert not re.search("Secret|SECRET-ID|19010203", "".join((written, *out, *err)))
    _, out, err = run(*arguments)
    assert not any("identify" in line for line in (*out, *err))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["none"], "none: neither a folder nor a .csv file"),
        (["empty"], "empty: no PNG, JPEG, DICOM, WebP, BMP or TIFF radiograph in this folder"),
        (["broken"], "broken: none of its 1 radiographs could be read"),
        (["images", "--page", "page.txt"], "--page page.txt: neither the name of an .html file nor a folder"),
        (["images", "--json", "labels.csv"], "--json labels.csv: not the name of a .json file"),
        (["images", "--json", "taken/file/x.json"], "taken/file: cannot be written (File exists)"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(run, images, model, arguments, error):
    for folder in ("empty", "broken/normal", "taken"):
        Path(folder).mkdir(parents=True)
    Path("broken/normal/1.png").write_text("not a radiograph")
    Path("taken/file").touch()
    shutil.copytree(images, "images")
    before = files_below(Path())
    code, out, err = run("validate", *arguments, *model)
    assert (code, out, err[-1]) == (1, [], f"error: {error}")
    assert files_below(Path()) == before


def test_no_model_is_one_line(run, images):
    code, out, err = run("validate", str(images))
    assert (code, out) == (1, [])
    assert err[0].startswith("error: models/classifier.onnx: no model here")


def test_it_runs_without_pytorch(images, model, tmp_path):
    code = (
        "import sys, runpy\nfrom cxr.cli import main\nmain()\n"
        "assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "validate", str(images), *model, "--page", "p.html", "--json", "r.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["verdict"] in done.stdout.lower()
