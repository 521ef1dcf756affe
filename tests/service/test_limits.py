"""Limits, keys and queues: no upload stops the service, and no damaged file is answered with a 5xx."""

import asyncio
import json
import re
import signal
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace

import httpx
import numpy as np
import pytest

from benchmarks.broken_images import encoded, jpeg_of_scans, mutated, originals, png_bomb
from scripts.running_service import serving
from service.app import create_app
from service.errors import Problem
from service.uploads import MAX_CLIENT_UPLOADS, MAX_UPLOADS, Uploads
from tests.builders import ROOT, dicom, dicom_bytes, noise_images
from tests.service.clients import ask, client, settings

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def service(exported_run):
    with client(exported_run, CXR_MAX_BYTES="200000", CXR_MAX_PIXELS="10000", CXR_MAX_FILES="3") as running:
        yield running


def check(answer: httpx.Response, status: int, name: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    document = answer.json()
    assert document["type"] == f"urn:cxr:problem:{name}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]


@pytest.mark.parametrize(
    ("sent", "status", "name"),
    [
        ({}, 415, "not-multipart"),
        ({"json": {}}, 415, "not-multipart"),
        ({"data": {"file": "text"}}, 415, "not-multipart"),
        ({"files": {"other": ("a", b"x")}}, 422, "missing-field"),
        ({"files": {"file": (None, b"text")}}, 422, "missing-field"),
        ({"files": {"file": ("a", b"x")}, "data": {"more": "text"}}, 422, "missing-field"),
        ({"files": [("file", ("a", b"x"))] * 2}, 422, "too-many-files"),
        ({"files": [("file", ("a", b"x"))] * 5}, 422, "too-many-files"),
        ({"files": {f"f{i}": (None, b"x") for i in range(20)}}, 400, "malformed-multipart"),
        ({"files": {"file": (None, b"x" * 5000)}}, 400, "malformed-multipart"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "malformed-multipart"),
        (
            {"content": b"zz", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
            400,
            "malformed-multipart",
        ),
        ({"files": {"file": ("a", b"")}}, 415, "unsupported-format"),
        ({"files": {"file": ("a.png", b"GIF89a" + bytes(100))}}, 415, "unsupported-format"),
        ({"files": {"file": ("a", encoded(noise_images(1, 64)[0], "PNG")[:-500])}}, 400, "unreadable-image"),
        ({"files": {"file": ("a", jpeg_of_scans(200))}}, 400, "unreadable-image"),
        ({"files": {"file": ("a", bytes(128) + b"DICM" + bytes(100))}}, 400, "unreadable-image"),
        ({"files": {"file": ("a", png_bomb(101))}}, 413, "too-many-pixels"),
        ({"files": {"file": ("a", png_bomb(60_000))}}, 413, "too-many-pixels"),
        (
            {"files": {"file": ("a", dicom_bytes(dicom(np.zeros((200, 200), np.uint8))))}},
            413,
            "too-many-pixels",
        ),
        ({"files": {"file": ("a", bytes(200_001))}}, 413, "too-many-bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_wrong_upload_has_its_problem(service, sent, status, name):
    for path in ("/predict", "/similar", "/explain", "/analyse"):
        check(service.post(path, **sent), status, name)


@pytest.mark.parametrize("charset", ["undefined", "hex", "idna", "utf-16", "nothing", "unicode_escape"])
def test_a_wrong_charset_is_no_5xx(service, charset):
    body = b'--b\r\nContent-Disposition: form-data; name="\xff\\x"; filename="a"\r\n\r\nx\r\n--b--\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    assert service.post("/predict", content=body, headers=headers).status_code in (400, 422)


@pytest.mark.parametrize("length", ["9" * 30, "9" * 5000])
def test_a_wrong_content_length_is_rejected(service, length):
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": length}
    check(service.post("/predict", content=b"x", headers=headers), 413, "too-many-bytes")


def test_a_jpeg_with_fewer_scans_is_read(service):
    assert ask(service, jpeg_of_scans(20)).status_code == 200


def test_bytes_are_counted_whatever_the_header_states(service):
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}

    def parts():
        yield body
        for _ in range(300):
            yield bytes(1000)

    check(service.post("/predict", content=parts(), headers=headers), 413, "too-many-bytes")
    wrong = headers | {"Content-Length": "100"}
    check(service.post("/predict", content=body + bytes(300_000), headers=wrong), 413, "too-many-bytes")


def test_no_upload_touches_the_disk(service, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    files = [("files", ("a", encoded(noise_images(1, 90)[0], "PNG"))), ("files", ("b", bytes(150_000)))]
    assert service.post("/predict/batch", files=files).status_code == 200


def test_a_batch_has_a_maximum_number_of_files(service):
    image = ("a", encoded(noise_images(1)[0], "PNG"))
    assert service.post("/predict/batch", files=[("files", image)] * 3).status_code == 200
    for count in (4, 6):
        check(service.post("/predict/batch", files=[("files", image)] * count), 422, "too-many-files")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/similar?k=0", "invalid-parameter"),
        ("/similar?k=21", "invalid-parameter"),
        ("/similar?k=many", "invalid-parameter"),
        ("/explain?alpha=2", "invalid-parameter"),
        ("/explain?alpha=nan", "invalid-parameter"),
        ("/explain?label=nothing", "unknown-label"),
    ],
)
def test_parameters_have_limits(service, path, name):
    check(ask(service, encoded(noise_images(1)[0], "PNG"), path), 422, name)


def test_other_paths_and_methods_are_problems_too(service):
    check(service.get("/nothing"), 404, "not-found")
    check(service.get("/predict"), 405, "method-not-allowed")
    for path in (
        "/static/..%2f..%2fparams.yaml",
        "/static/../app.py",
        "/static//etc/passwd",
        "/%2e%2e/params.yaml",
    ):
        check(service.get(path), 404, "not-found")


def test_the_key_is_checked_before_the_body_is_read(exported_run):
    image = {"file": ("a", encoded(noise_images(1)[0], "PNG"))}
    with client(exported_run, CXR_API_KEY="geheim-ü") as service:
        for key in (None, "", "geheim", "geheim-ü-und-mehr", "\x00"):
            headers = {"X-API-Key": key.encode()} if key is not None else {}
            for path in ("/predict", "/similar", "/explain", "/analyse"):
                answer = service.post(path, content=b"unread", headers=headers)
                check(answer, 401, "api-key")
                assert answer.headers["www-authenticate"]
            check(service.get("/metadata", headers=headers), 401, "api-key")
        assert service.get("/health").status_code == 200
        assert service.post("/predict", headers={"X-API-Key": b"\xff\xfe"}).status_code == 401
        right = {"X-API-Key": "geheim-ü".encode()}
        assert service.post("/predict", files=image, headers=right).status_code == 200
        assert service.get("/metadata", headers=right).status_code == 200


@pytest.mark.filterwarnings("ignore")
def test_no_mutated_image_is_answered_with_a_5xx(service):
    generator, statuses = np.random.default_rng(0), []
    images = originals()
    for image in images:
        assert ask(service, image).status_code == 200
    for number in range(400):
        path = ("/predict", "/similar", "/explain")[number % 3]
        statuses.append(ask(service, mutated(images[number % len(images)], generator), path).status_code)
    assert set(statuses) <= {200, 400, 413, 415}
    assert statuses.count(200) < 300  # most of them were damaged
    assert ask(service, images[0]).status_code == 200


def in_flight(app, requests: int, image: bytes) -> list[httpx.Response]:
    async def all_at_once() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
        ):
            return await asyncio.gather(
                *(http.post("/predict", files={"file": ("a", image)}) for _ in range(requests))
            )

    return asyncio.run(all_at_once())


def slow(app, seconds: float) -> None:
    """Every answer of `app` takes that long."""
    state = app.state.service
    real = state.loaded

    def loaded():
        served = real()

        def model(images):
            time.sleep(seconds)
            return served.model(images)

        vars(model).update(vars(served.model), typicality=served.model.typicality)
        return replace(served, model=model)

    state.loaded = loaded


def test_at_capacity_it_answers_503_with_retry_after(exported_run):
    app = create_app(settings(exported_run, CXR_QUEUE="2"))
    slow(app, 0.2)
    answers = in_flight(app, 10, encoded(noise_images(1)[0], "PNG"))
    busy = [answer for answer in answers if answer.status_code != 200]
    assert len(busy) == 6  # two running and two queued
    for answer in busy:
        check(answer, 503, "busy")
        assert int(answer.headers["retry-after"]) >= 1
    assert app.state.service.work.in_flight == 0


def test_the_bytes_of_all_uploads_are_bounded():
    uploads = Uploads(max_bytes=100, timeout=30)
    uploads.hold("a", 100)
    uploads.hold("a", 100)
    with pytest.raises(Problem) as refused:  # half of the whole is one address's
        uploads.hold("a", 1)
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "30"})
    uploads.hold("b", 150)
    with pytest.raises(Problem):
        uploads.hold("c", 51)
    uploads.release("a", 200)
    uploads.hold("c", 51)


def test_one_address_cannot_take_all_uploads():
    uploads = Uploads(max_bytes=100, timeout=30)
    with ExitStack() as stack:
        for _ in range(MAX_CLIENT_UPLOADS):
            stack.enter_context(uploads.receiving("a"))
        with pytest.raises(Problem), uploads.receiving("a"):
            pass
        for number in range(MAX_UPLOADS - MAX_CLIENT_UPLOADS):
            stack.enter_context(uploads.receiving(f"b{number}"))
        with pytest.raises(Problem), uploads.receiving("c"):
            pass
    with uploads.receiving("a"):
        assert uploads.uploading == 1


def test_bytes_are_released_with_the_answer(service):
    uploads = service.app.state.service.uploads
    for content in (encoded(noise_images(1)[0], "PNG"), b"no image", bytes(300_000)):
        ask(service, content)
        assert (uploads.uploading, uploads._held.total(), len(uploads._clients)) == (0, 0, 0)


def test_an_answer_that_takes_too_long_is_a_503(exported_run):
    app = create_app(settings(exported_run, CXR_TIMEOUT="1"))
    slow(app, 1.5)
    start = time.monotonic()
    (answer,) = in_flight(app, 1, encoded(noise_images(1)[0], "PNG"))
    check(answer, 503, "busy")
    assert time.monotonic() - start < 5
    assert app.state.service.work.in_flight == 0


def test_an_upload_that_takes_too_long_or_stops_is_a_problem(exported_run):
    app = create_app(settings(exported_run, CXR_TIMEOUT="1"))
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    scope = {
        "type": "http",
        "state": {},
        "method": "POST",
        "path": "/predict",
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=b"), (b"host", b"localhost")],
    }

    async def answer(rest: object) -> tuple[int, dict]:
        messages, sent = [{"type": "http.request", "body": head, "more_body": True}, rest], []

        async def receive():
            message = messages.pop(0)
            return message if message else await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        async with app.router.lifespan_context(app):
            await app(dict(scope), receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    status, document = asyncio.run(answer(None))
    assert (status, document["type"]) == (408, "urn:cxr:problem:slow-upload")
    status, document = asyncio.run(answer({"type": "http.disconnect"}))
    assert (status, document["type"]) == (400, "urn:cxr:problem:disconnected")


def test_a_defect_is_a_500_without_content(exported_run, monkeypatch, capsys):
    with client(exported_run) as service:

        def broken(*_):
            raise ZeroDivisionError("secret content")

        monkeypatch.setattr("service.inference.read_upload", broken)
        answer = ask(service, encoded(noise_images(1)[0], "PNG"))
    check(answer, 500, "defect")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.headers["x-request-id"]) == 32
    assert "secret" not in answer.text


def test_logs_are_json_without_names_and_metrics_count(exported_run, capsys, monkeypatch):
    import logging

    monkeypatch.setattr(logging.getLogger("service"), "handlers", [])
    with client(exported_run) as service:
        service.post("/predict", files={"file": ("Jane Doe.png", encoded(noise_images(1)[0], "PNG"))})
        service.get("/secret-path")
        text = service.get("/metrics").text
        alerts = (ROOT / "docs/alerts.yaml").read_text()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"model loaded", "request", "stopped"} <= {line["event"] for line in lines}
    request = next(line for line in lines if line.get("path") == "/predict")
    assert (request["method"], request["status"]) == ("POST", 200)
    assert "Jane" not in json.dumps(lines)
    assert "secret" not in json.dumps(lines)
    assert 'cxr_requests_total{method="POST",path="/predict",status="200"} 1.0' in text
    assert "cxr_requests_in_flight 0.0" in text
    assert "cxr_requests_admitted 0.0" in text
    assert f"cxr_requests_capacity {service.app.state.service.work.capacity}.0" in text
    assert set(re.findall(r"cxr_\w+", alerts)) <= set(re.findall(r"cxr_\w+", text))
    assert 'cxr_step_seconds_count{step="decode"} 1.0' in text
    assert 'cxr_step_seconds_count{step="network"} 1.0' in text
    assert "cxr_model_loaded 1.0" in text


def test_a_running_service_loads_a_model_at_sighup_and_ends_at_sigterm(exported_run, tmp_path):
    path = tmp_path / "own.onnx"
    with serving(CXR_HOME=str(exported_run), CXR_MODEL=str(path)) as running:

        def loaded() -> bool:
            return httpx.get(f"{running.address}/health").json()["model_loaded"]

        path.write_bytes((exported_run / "models/classifier.onnx").read_bytes())
        assert not loaded()
        running.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while not loaded():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) in (0, -signal.SIGTERM)
