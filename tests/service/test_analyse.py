"""/analyse gives the answers of the endpoints that it joins, from one decoding and one run of the network."""

import base64
import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from benchmarks.broken_images import encoded
from cxr.data.radiograph import read_original_bytes
from cxr.inference.onnx_session import OnnxModel
from service import overlay, uploads
from tests.builders import make_export_unlike, noise_images
from tests.service.clients import ask, client, explained


def picture(uri: str) -> Image.Image:
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How often a radiograph is read and the network is run."""
    seen: Counter = Counter()
    read, run = uploads.read_original_bytes, OnnxModel.__call__

    def counted_read(*arguments):
        seen["read"] += 1
        return read(*arguments)

    def counted_run(model, images):
        seen["run"] += len(images)
        return run(model, images)

    monkeypatch.setattr(uploads, "read_original_bytes", counted_read)
    monkeypatch.setattr(OnnxModel, "__call__", counted_run)
    return seen


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "DICOM"])
def test_one_request_gives_the_answers_of_four_from_one_run(service, counts, kind):
    content = encoded(noise_images(1, 600)[0], kind)
    answer = ask(service, content, "/analyse").json()
    assert counts == {"read": 1, "run": 1}
    assert answer["prediction"] == ask(service, content).json()
    assert answer["similar"] == ask(service, content, "/similar").json()
    plain = explained(service, content, "alpha=0")
    shown = np.asarray(picture(answer["radiograph"]))
    assert np.array_equal(np.stack([shown] * 3, axis=-1), plain)
    reduced = read_original_bytes(content, "image").resized(16, "medmnist")
    assert np.array_equal(np.asarray(picture(answer["model_input"])), reduced)
    assert counts == {"read": 4, "run": 4}
    assert answer["problems"] == []


@pytest.mark.parametrize("alpha", [1, 0.4])
def test_the_layer_over_the_radiograph_is_the_map_of_explain(service, alpha):
    content = encoded(noise_images(1, 600)[0], "PNG")
    answer = ask(service, content, "/analyse").json()
    assert answer["map"]["label"] == answer["prediction"]["decision"]
    small = picture(answer["map"]["image"])
    assert small.size == (overlay.LAYER, overlay.LAYER)
    layer = small.convert("RGBA").resize((overlay.SIDE, overlay.SIDE), Image.Resampling.BILINEAR)
    values = np.asarray(layer).astype(float)
    weight = alpha * values[..., 3:] / 255
    grey = np.asarray(picture(answer["radiograph"])).astype(float)[..., None]
    expected = explained(service, content, f"alpha={alpha}")
    over = (1 - weight) * grey + weight * values[..., :3]
    assert np.abs(over - expected).mean() < 1
    assert np.abs(over - expected).max() < 8
    assert np.abs(grey - expected).max() > 50  # the map is not empty


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_the_layer_of_a_map_without_positive_values_is_transparent(value):
    image = Image.open(io.BytesIO(overlay.layer(np.full((4, 4), value, np.float32))))
    assert np.asarray(image.convert("RGBA"))[..., 3].max() == 0


def test_what_a_model_lacks_is_left_out_with_the_reason(home, monkeypatch):
    (home / "models/index.faiss").unlink()
    content = encoded(noise_images(1)[0], "PNG")
    with client(home) as service:
        monkeypatch.setattr(service.app.state.service.loaded().model, "has_maps", False)
        answer = ask(service, content, "/analyse")
        assert answer.status_code == 200
        assert answer.json()["prediction"] == ask(service, content).json()
    assert (answer.json()["map"], answer.json()["similar"]) == (None, None)
    no_map, no_cases = answer.json()["problems"]
    assert (no_map["type"], no_map["status"]) == ("urn:cxr:problem:no-maps", 501)
    assert (no_cases["type"], no_cases["status"]) == ("urn:cxr:problem:no-cases", 503)
    assert "no index here" in no_cases["detail"]


def test_an_unlike_image_is_marked_here_too(home):
    make_export_unlike(home)
    with client(home) as service:
        answer = ask(service, encoded(noise_images(1, 40)[0], "PNG"), "/analyse").json()["prediction"]
    assert (answer["unlike"], answer["observed"]) == (True, None)


def test_the_card_is_that_of_the_model_served(home):
    card = home / "reports/model_card.md"
    card.parent.mkdir(exist_ok=True)
    with client(home, CXR_API_KEY="secret") as service:
        state, key = service.app.state.service, {"X-API-Key": "secret"}
        sha256 = state.loaded().model.facts.classifier_sha256
        assert service.get("/card").status_code == 401
        missing = service.get("/card", headers=key)
        assert (missing.status_code, missing.json()["type"]) == (404, "urn:cxr:problem:no-card")
        assert "dvc repro card" in missing.json()["detail"]
        for content, status in (
            (f"SHA-256 {sha256} \u00b1".encode(), 200),
            (b"another", 404),
            (b"\xff", 404),
        ):
            card.write_bytes(content)
            state.reload()
            answer = service.get("/card", headers=key)
            assert answer.status_code == status
            if status == 200:
                assert (answer.content, answer.headers["content-type"]) == (
                    content,
                    "text/plain; charset=utf-8",
                )
