"""The service agrees with PyTorch and the gallery on the same radiograph, and names its model."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

from benchmarks.broken_images import encoded
from cxr.core.errors import UserError
from cxr.core.files import read_csv, read_json
from cxr.data.radiograph import read_original_bytes
from cxr.embeddings.gallery import Gallery
from cxr.embeddings.vectors import classifier_vectors
from cxr.inference import predictions
from cxr.inference.calibration import load_calibration
from cxr.inference.gradcam import gradcam
from cxr.inference.onnx_session import OnnxModel
from cxr.inference.predictions import load_predictions
from cxr.models.classifier import load_classifier, predict
from service import info, overlay
from service.served import Served
from service.settings import Settings
from tests.builders import ROOT, make_export_unlike, noise_images, refused
from tests.pictures import cornered, is_grey
from tests.service.clients import ask, client, explained, settings

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "DICOM", "WEBP", "BMP", "TIFF"])
def test_same_pixels_same_answer(service, exported_run, monkeypatch, kind):
    content = encoded(noise_images(1, 40)[0], kind)
    monkeypatch.chdir(exported_run)
    image = read_original_bytes(content, "image").resized(16, "medmnist")[None]
    expected = load_calibration()(predict(load_classifier(), image, CPU).mean)[0]
    answer = ask(service, content).json()
    assert answer["top_k"] == 2
    confidences = {item["label"]: item["confidence"] for item in answer["predictions"]}
    np.testing.assert_allclose([confidences["normal"], confidences["pneumonia"]], expected, atol=1e-5)
    assert list(confidences.values()) == sorted(confidences.values(), reverse=True)
    threshold = load_calibration().threshold
    assert answer["decision"] == ("pneumonia" if expected[1] >= threshold else "normal")
    assert answer["operating_point"] == {"rule": "youden", "threshold": threshold, "positive": "pneumonia"}
    bins = read_csv("metrics/reliability.csv")
    row = min(bins, key=lambda row: abs(float(row["probability"]) - expected[1]))
    assert answer["observed"]["images"] == int(row["images"])
    assert answer["observed"]["observed"] == pytest.approx(float(row["observed"]))


@pytest.mark.skipif(
    not (ROOT / "models/classifier.onnx").is_file(), reason="models/classifier.onnx has not been built"
)
def test_the_real_model_gives_the_published_probabilities():
    test = load_predictions(ROOT / predictions.PATH).of("test")
    model = OnnxModel((ROOT / "models/classifier.onnx").read_bytes(), threads=1)
    some = slice(0, None, 20)  # the stage export compares all of them
    answer = model(np.load(ROOT / "data/images.npy", mmap_mode="r")[test.rows[some]])
    np.testing.assert_allclose(answer.probabilities, test.ensemble[some], atol=1e-4)


def test_a_batch_gives_the_answers_of_single_files(service):
    images = [encoded(image, kind) for image, kind in zip(noise_images(2, 40), ("PNG", "DICOM"), strict=True)]
    sent = [images[0], b"not an image", images[1], images[0][:100]]
    answer = service.post("/predict/batch", files=[("files", ("name", content)) for content in sent])
    assert answer.status_code == 200
    good, bad, also_good, cut = answer.json()["results"]
    for item, content in ((good, images[0]), (also_good, images[1])):
        alone = ask(service, content).json()["predictions"]
        assert item["problem"] is None
        for in_batch, single in zip(item["prediction"]["predictions"], alone, strict=True):
            assert in_batch["label"] == single["label"]
            assert in_batch["confidence"] == pytest.approx(single["confidence"], abs=1e-6)
    assert (bad["prediction"], bad["problem"]["status"]) == (None, 415)
    assert (cut["prediction"], cut["problem"]["status"]) == (None, 400)


def test_similar_cases_agree_with_the_gallery(service, exported_run, monkeypatch):
    content = encoded(noise_images(1, 40)[0], "PNG")
    monkeypatch.chdir(exported_run)
    image = read_original_bytes(content, "image").resized(16, "medmnist")[None]
    gallery = Gallery.load()
    expected = gallery.search(classifier_vectors(load_classifier(), image, CPU), 3)
    answer = ask(service, content, "/similar?k=3").json()
    assert answer["metric"] == gallery.meta.metric
    assert [case["row"] for case in answer["cases"]] == expected.rows[0].tolist()
    values = [case["value"] for case in answer["cases"]]
    np.testing.assert_allclose(values, expected.values[0], atol=1e-5)
    table, images = read_csv("data/labels.csv"), np.load("data/images.npy")
    for case in answer["cases"]:
        assert (case["label"], case["split"]) == (table[case["row"]]["class"], "train")
        head, data = case["thumbnail"].split(",")
        assert head == "data:image/png;base64"
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert np.array_equal(shown, images[case["row"]])
    assert len(ask(service, content, "/similar").json()["cases"]) == 5


def test_an_image_unlike_the_training_images_is_marked(service, home):
    content = encoded(noise_images(1, 40)[0], "PNG")
    before = ask(service, content).json()
    assert (before["unlike"], before["unlike_reason"]) == (False, None)
    assert 0 < before["typicality"] <= 1
    make_export_unlike(home)
    with client(home) as marked:
        answer = ask(marked, content).json()
        about = marked.get("/metadata").json()
    assert answer["typicality"] == pytest.approx(1 / 41)
    assert answer["unlike"] is True
    assert "low correlation of its pixels" in answer["unlike_reason"]
    # What was observed on test does not speak for it.
    assert before["observed"] is not None
    assert answer["observed"] is None
    assert (answer["predictions"], answer["decision"]) == (before["predictions"], before["decision"])
    assert about["metrics_summary"] is not None
    assert about["typicality_limit"] == 0.05
    assert any("typicality is below 0.05" in limit for limit in about["limits"])


@pytest.mark.parametrize("unlike", [False, True])
def test_metrics_count_decisions_and_images_unlike_the_training_images(home, unlike):
    if unlike:
        make_export_unlike(home)
    counted: Counter = Counter()
    with client(home) as service:
        for image in noise_images(3, 40):
            content = encoded(image, "PNG")
            counted[ask(service, content).json()["decision"]] += 4
            ask(service, content, "/similar")  # no prediction
            ask(service, content, "/analyse")
            service.post("/predict/batch", files=[("files", ("a", content))])
            service.post("/predict/stream", files=[("files", ("a", content))])
        text = service.get("/metrics").text
    found = re.findall(r'cxr_radiographs_total\{decision="(\w+)",unlike="(\w+)"\} (\d+)', text)
    assert {decision: int(count) for decision, _, count in found} == counted
    assert {marked for _, marked, _ in found} == {str(unlike).lower()}


def test_a_file_without_typicality_is_one_line(home):
    path = home / "models/classifier.onnx"
    graph = onnx.load(path)
    (distances,) = [output for output in graph.graph.output if output.name == "distances"]
    graph.graph.output.remove(distances)
    path.write_bytes(graph.SerializeToString())
    with client(home) as running:
        health = running.get("/health").json()
    assert "exported by an earlier version, without typicality; run `dvc repro export`" in health["detail"]


def test_overlay_is_grad_cam_over_the_image(service, exported_run, monkeypatch):
    image = noise_images(1, 40)[0][:, 4:36]
    content = encoded(image, "PNG")
    plain = explained(service, content, "alpha=0")
    assert np.array_equal(plain, np.stack([image[4:36]] * 3, axis=-1))
    monkeypatch.chdir(exported_run)
    stored = read_original_bytes(content, "image").resized(16, "medmnist")[None]
    for label, name in enumerate(("normal", "pneumonia")):
        full = explained(service, content, f"alpha=1&label={name}")
        heat = gradcam(load_classifier(), stored, np.array([label]), CPU)[0]
        # The map of the service has 32 pixels a side, not 16, which leaves a small difference.
        heat = heat.repeat(2, axis=0).repeat(2, axis=1)[..., None]
        expected = (1 - heat) * plain + heat * overlay.coloured(heat[..., 0])
        assert np.corrcoef((full - plain).ravel(), (expected - plain).ravel())[0, 1] > 0.98
    default = explained(service, content, "label=pneumonia")
    np.testing.assert_allclose(default, 0.4 * plain + 0.6 * full, atol=1)
    decision = ask(service, content).json()["decision"]
    assert np.array_equal(explained(service, content, ""), explained(service, content, f"label={decision}"))


def test_overlay_is_transparent_in_proportion_to_the_map():
    grey = noise_images(1, 32)[0]
    original = read_original_bytes(encoded(grey, "PNG"), "image")
    activation = np.full((32, 32), -3, np.float32)
    activation[:, 8:16], activation[:, 16:] = 2, 4  # of its own maximum: 0.5 and 1
    pixels = np.asarray(Image.open(io.BytesIO(overlay.overlay(original, activation, alpha=0.6)))).astype(
        float
    )
    plain = np.stack([grey] * 3, axis=-1).astype(float)
    half, yellow = overlay.coloured(np.array([0.5, 1]))
    assert np.array_equal(pixels[:, :8], plain[:, :8])
    np.testing.assert_allclose(pixels[:, 8:16], 0.7 * plain[:, 8:16] + 0.3 * half, atol=0.501)
    np.testing.assert_allclose(pixels[:, 16:], 0.4 * plain[:, 16:] + 0.6 * yellow, atol=0.501)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_overlay_without_positive_activation_is_the_radiograph(value):
    grey = noise_images(1, 32)[0]
    original = read_original_bytes(encoded(grey, "PNG"), "image")
    content = overlay.overlay(original, np.full((4, 4), value, np.float32), alpha=1)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), np.stack([grey] * 3, axis=-1))


def test_colours_are_viridis():
    values = np.linspace(0, 1, 100)
    expected = 255 * colormaps["viridis"](values)[:, :3]
    np.testing.assert_allclose(overlay.coloured(values), expected, atol=6)


def test_health_and_metadata_name_the_model(service, exported_run):
    sha256 = read_json(exported_run / "metrics/export.json")["sha256"]
    assert service.get("/health").json() == {
        "status": "ok",
        "model_loaded": True,
        "model_sha256": sha256,
        "detail": None,
    }
    info = service.get("/metadata").json()
    assert sha256 in info["model_version"]
    assert info["classes"] == ["normal", "pneumonia"]
    test = read_json(exported_run / "metrics/test.json")
    for name in ("auc", "accuracy"):
        assert info["metrics_summary"][name] == {
            "value": test[name]["ensemble"],
            "low": test[name]["low"],
            "high": test[name]["high"],
        }
    # As the published service named them.
    assert info["labels"] == info["classes"]
    flat = {"test_accuracy": "accuracy", "macro_f1": "f1_macro", "weighted_f1": "f1_weighted"}
    assert {name: info[name] for name in flat} == {name: test[key]["ensemble"] for name, key in flat.items()}
    assert "For research only, not for diagnosis." in info["limits"]
    assert any("also one that is not a chest radiograph" in limit for limit in info["limits"])


def test_metrics_of_another_model_are_not_shown(home):
    test = read_json(home / "metrics/test.json")
    test["auc"]["ensemble"] = 1.0
    (home / "metrics/test.json").write_text(json.dumps(test))
    with client(home) as service:
        info = service.get("/metadata").json()
        assert (
            info["metrics_summary"]
            is info["test_accuracy"]
            is info["macro_f1"]
            is info["weighted_f1"]
            is None
        )
        assert ask(service, encoded(noise_images(1)[0], "PNG")).json()["observed"] is not None
    (home / "metrics/export.json").unlink()
    with client(home) as service:
        assert service.get("/metadata").json()["metrics_summary"] is None
        assert ask(service, encoded(noise_images(1)[0], "PNG")).json()["observed"] is None


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/similar", "/explain", "/analyse"])
def test_without_a_model_the_answer_names_the_command(tmp_path, path):
    with client(tmp_path) as service:
        field = "files" if path.endswith("batch") else "file"
        answer = service.post(path, files={field: ("image", b"")})
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:cxr:problem:no-model"
        assert "dvc repro" in answer.json()["detail"]
        assert service.get("/health").json()["status"] == "no model"


def test_without_a_gallery_of_the_same_model_similar_is_a_503(home):
    image = encoded(noise_images(1)[0], "PNG")
    meta = read_json(home / "models/index.json")
    (home / "models/index.json").write_text(json.dumps(meta | {"source_sha256": "0" * 64}))
    with client(home) as service:
        answer = ask(service, image, "/similar")
        assert answer.status_code == 503
        assert "built with another model" in answer.json()["detail"]
        assert service.get("/metadata").json()["similar"] is False
    (home / "models/index.faiss").unlink()
    with client(home) as service:
        assert "no index here" in ask(service, image, "/similar").json()["detail"]
        assert ask(service, image).status_code == 200


def test_a_gallery_of_features_or_of_test_is_not_served(home):
    """The ONNX file has no features that are not normalised, and the answers are called training images."""
    image = encoded(noise_images(1)[0], "PNG")
    meta = read_json(home / "models/index.json")
    test = [row for row, entry in enumerate(read_csv(home / "data/labels.csv")) if entry["split"] == "test"]
    for change, reason in (
        ({"metric": "l2"}, "set index.metric to cosine"),
        ({"rows": [test[0], *meta["rows"][1:]]}, "holds test radiographs; set index.gallery to train"),
    ):
        (home / "models/index.json").write_text(json.dumps(meta | change))
        with client(home) as service:
            answer = ask(service, image, "/similar")
            assert answer.status_code == 503
            assert reason in answer.json()["detail"]


def test_a_model_without_maps_is_a_501(service, exported_run, monkeypatch):
    served = service.app.state.service.loaded()
    monkeypatch.setattr(served.model, "has_maps", False)
    answer = ask(service, encoded(noise_images(1)[0], "PNG"), "/explain")
    assert (answer.status_code, answer.json()["type"]) == (501, "urn:cxr:problem:no-maps")


def test_a_replaced_model_is_served_after_reload_and_a_damaged_one_never(home):
    image = encoded(noise_images(1)[0], "PNG")
    path = home / "models/classifier.onnx"
    content = path.read_bytes()
    with client(home) as service:
        state = service.app.state.service
        before = ask(service, image).json()
        path.write_bytes(content[: len(content) // 2])
        assert ask(service, image).json() == before
        state.reload()
        assert ask(service, image).json() == before
        path.write_bytes(content.replace(b'"youden": 0.4', b'"foudey": 0.4'))  # in its metadata
        assert ask(service, image).json() == before
        state.reload()
        after = ask(service, image).json()
    assert after["operating_point"]["rule"] == "foudey"
    assert after["model_sha256"] != before["model_sha256"]
    assert after["predictions"] == before["predictions"]


def test_openapi_describes_images_and_problems(service):
    document = service.get("/openapi.json").json()
    for path, field in (("/predict", "file"), ("/predict/batch", "files"), ("/explain", "file")):
        post = document["paths"][path]["post"]
        schema = post["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert schema["required"] == [field]
        assert {"200", "400", "413", "415", "422", "503"} <= set(post["responses"])
        assert "application/problem+json" in post["responses"]["413"]["content"]


def test_the_service_needs_no_pytorch():
    heavy = "[m for m in ('torch', 'scipy', 'sklearn', 'matplotlib', 'onnx') if m in sys.modules]"
    code = f"import sys, service.app, cxr.data.dicom; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("value", ["0", "-1", "many", "", "9" * 5000])
def test_settings_that_are_not_a_positive_number_are_errors(value):
    with refused("CXR_QUEUE is", "a whole number of 1 or more"):
        Settings.from_environment({"CXR_QUEUE": value})


def test_an_error_in_the_environment_is_one_line():
    done = subprocess.run(
        [sys.executable, "-c", "import runpy; runpy.run_module('service', run_name='__main__')"],
        cwd=ROOT,
        env={"PATH": "", "CXR_QUEUE": "many"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: CXR_QUEUE is")
    assert done.stderr.count("\n") == 1


def test_settings_are_read_from_the_environment(tmp_path):
    own = settings(tmp_path, CXR_MODEL="elsewhere.onnx", CXR_API_KEY="", CXR_REVISION="abc")
    assert own == replace(settings(tmp_path), model=Path("elsewhere.onnx"), revision="abc")
    assert own.api_key is None


def test_the_page_and_its_parts_come_from_memory(exported_run, tmp_path, monkeypatch):
    (tmp_path / "index.html").write_text("<h1>page</h1>")
    (tmp_path / "page.js").write_text("1")
    monkeypatch.setattr(info, "STATIC", tmp_path)
    with client(exported_run) as service:
        (tmp_path / "index.html").unlink()
        page = service.get("/")
        assert (page.text, page.headers["content-type"]) == ("<h1>page</h1>", "text/html; charset=utf-8")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "javascript" in service.get("/static/page.js").headers["content-type"]
        (tmp_path / "late.js").write_text("2")
        assert service.get("/static/late.js").status_code == 404


@pytest.mark.parametrize("name", ["models/index.json", "metrics/export.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"rows": 3}', None])
def test_damaged_companions_are_left_out(home, name, content):
    whole = (home / name).read_bytes()
    values = [None, {}, [], -1, "text", [-1], ["a"]]
    broken = (
        [content]
        if content is not None
        else [
            json.dumps(json.loads(whole) | {key: value}).encode()
            for key in json.loads(whole)
            for value in values
        ]
    )
    with client(home) as service:
        state = service.app.state.service
        for content in broken:
            (home / name).write_bytes(content)
            state.reload()
            assert service.get("/metadata").status_code == 200
            assert ask(service, encoded(noise_images(1)[0], "PNG")).status_code == 200
        (home / name).write_bytes(broken[0])
    with client(home) as service:
        assert service.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize("length", [0, 5, 200])
def test_a_truncated_data_set_ends_no_process(home, length):
    image = encoded(noise_images(1)[0], "PNG")
    with client(home) as service:
        assert ask(service, image, "/similar").status_code == 200
        os.truncate(home / "data/images.npy", length)  # in place, as no command of the project does
        answer = ask(service, image, "/similar")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:cxr:problem:no-cases")
        service.app.state.service.reload()
        assert "fetch them with `dvc pull`" in ask(service, image, "/similar").json()["detail"]
        assert ask(service, image).status_code == 200


def test_a_fifo_is_no_model_and_no_data_set(home):
    for name in ("data/images.npy", "models/classifier.onnx"):
        (home / name).unlink()
        os.mkfifo(home / name)
        with client(home) as service:
            assert service.get("/health").status_code == 200


def test_reloads_asked_for_during_one_are_one(exported_run, monkeypatch):
    loads, go = [], threading.Event()

    def load(_: Settings) -> Served:
        loads.append(1)
        go.wait(20)
        raise UserError("no model")

    with client(exported_run) as service:
        monkeypatch.setattr("service.state.load_served", load)
        state = service.app.state.service
        threads = [threading.Thread(target=state.reload) for _ in range(50)]
        for thread in threads:
            thread.start()
        go.set()
        for thread in threads:
            thread.join()
    assert 1 <= len(loads) <= 3


def test_ready_is_a_503_without_a_model_and_at_capacity(exported_run, tmp_path, monkeypatch):
    with client(tmp_path) as service:
        assert service.get("/ready").status_code == 503
        assert str(tmp_path) not in service.get("/health").text + service.get("/ready").text
    with client(exported_run) as service:
        assert service.get("/ready").json()["status"] == "ok"
        monkeypatch.setattr(service.app.state.service.work, "full", True)
        assert service.get("/ready").status_code == 503


def test_a_model_cannot_refer_to_other_files(exported_run, tmp_path, monkeypatch):
    model = onnx.load(exported_run / "models/classifier.onnx")
    monkeypatch.chdir(tmp_path)
    onnx.save(model, "classifier.onnx", save_as_external_data=True, location="weights", size_threshold=1000)
    assert Path("weights").is_file()
    with refused("classifier.onnx: not written by the stage export"):
        OnnxModel(Path("classifier.onnx").read_bytes(), 1)


def test_the_documentation_loads_nothing_from_elsewhere(service):
    for path in ("/docs", "/static/docs.js"):
        answer = service.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "//" not in answer.text.replace("</", "").split("fetch(")[-1]
    assert service.get("/redoc").status_code == 404


def test_the_threshold_itself_is_positive_and_the_map_is_the_decisions(service, monkeypatch):
    """Once at its own probability as the threshold, once just above: one is not the most probable class."""
    content = encoded(noise_images(1, 40)[0], "PNG")
    served = service.app.state.service.loaded()
    image = read_original_bytes(content, "image").resized(16, "medmnist")[None]
    p = served.model(image).probabilities[0, 1]
    maps = [explained(service, content, f"label={name}") for name in ("normal", "pneumonia")]
    assert not np.array_equal(*maps)
    for threshold, label in ((p, 1), (np.nextafter(p, np.float32(1)), 0)):
        points = {"one_half": 0.5, "target_sensitivity": float(threshold)}
        facts = replace(served.model.facts, threshold=float(threshold), operating_points=points)
        monkeypatch.setattr(served.model, "facts", facts)
        answer = ask(service, content).json()
        assert answer["decision"] == ("normal", "pneumonia")[label]
        assert answer["operating_point"] == {
            "rule": "target_sensitivity",
            "threshold": pytest.approx(float(threshold)),
            "positive": "pneumonia",
        }
        assert np.array_equal(explained(service, content, ""), maps[label])


def test_metrics_are_left_out_where_the_exported_hash_is_another(home):
    export = read_json(home / "metrics/export.json")
    (home / "metrics/export.json").write_text(json.dumps(export | {"sha256": "0" * 64}))
    with client(home) as service:
        assert service.get("/metadata").json()["metrics_summary"] is None
        assert ask(service, encoded(noise_images(1)[0], "PNG")).json()["observed"] is None


def test_overlay_shows_the_corner_where_it_is():
    original = read_original_bytes(encoded(cornered(32), "PNG"), "image")
    activation = np.zeros((8, 8), np.float32)
    activation[6:, :3] = 1  # lower left, wider than high
    png = overlay.overlay(original, activation, alpha=0.6)
    shown = np.asarray(Image.open(io.BytesIO(png))).astype(int)
    plain = cornered(32)
    assert is_grey(shown[:20], plain[:20])
    assert is_grey(shown[:, 16:], plain[:, 16:])
    yellow = 0.6 * overlay.coloured(np.array([1.0]))[0] + 0.4 * plain[30, 2]
    np.testing.assert_allclose(shown[27:, :8].reshape(-1, 3), np.tile(yellow, (40, 1)), atol=2)
    similar = np.asarray(Image.open(io.BytesIO(overlay.png(Image.fromarray(plain)))))
    assert np.array_equal(similar, plain)
