"""/predict/stream answers file by file what /predict answers, and takes no file before it is due."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from benchmarks.broken_images import encoded
from scripts.running_service import Running, serving
from service import stream
from service.app import create_app
from tests.builders import noise_images
from tests.service.clients import ask, settings
from tests.service.test_connections import connect

IMAGES = [
    encoded(image, kind) for image, kind in zip(noise_images(3, 40), ("PNG", "JPEG", "DICOM"), strict=True)
]
END = b"--b--\r\n"
DELIMITER = b"--b\r\n"  # of the next part, before which a file is not known to be complete
BOUNDARY = "multipart/form-data; boundary=b"
HEAD = (
    b"POST /predict/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def part(content: bytes, name: str = "a.png", field: str = "files") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
    return f"--b\r\n{disposition}\r\n\r\n".encode() + content + b"\r\n"


def post(service: TestClient, body: bytes, kind: str = BOUNDARY) -> Any:
    return service.post("/predict/stream", content=body, headers={"Content-Type": kind})


def lines(answer: Any) -> list[dict]:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_each_line_is_what_predict_answers(service: TestClient) -> None:
    body = b"".join(part(content, f"{i}.x") for i, content in enumerate(IMAGES)) + END
    found = lines(post(service, body))
    assert [(item["number"], item["file"]) for item in found] == [(0, "0.x"), (1, "1.x"), (2, "2.x")]
    for item, content in zip(found, IMAGES, strict=True):
        assert item["problem"] is None
        assert item["prediction"] == ask(service, content).json()


def test_a_damaged_file_is_a_problem_in_its_line(service: TestClient) -> None:
    found = lines(post(service, part(IMAGES[0]) + part(b"no image", "b") + part(IMAGES[1]) + END))
    assert [item["prediction"] is None for item in found] == [False, True, False]
    assert found[1]["problem"]["type"] == "urn:cxr:problem:unsupported-format"


@pytest.mark.parametrize(
    ("body", "kind", "status", "name"),
    [
        (part(b"x"), "application/json", 415, "not-multipart"),
        (part(b"x"), "multipart/form-data", 400, "malformed-multipart"),
        (b"no part", BOUNDARY, 400, "malformed-multipart"),
        (b"", BOUNDARY, 400, "malformed-multipart"),
        (END, BOUNDARY, 422, "missing-field"),
        (part(b"x", field="file") + END, BOUNDARY, 422, "missing-field"),
        (part(b"x").replace(b"; filename", b"; other") + END, BOUNDARY, 422, "missing-field"),
    ],
    ids=["type", "boundary", "no part", "no end", "empty", "field", "no file"],
)
def test_what_is_wrong_before_the_first_answer_is_a_problem(service, body, kind, status, name) -> None:
    answer = post(service, body, kind)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:cxr:problem:{name}")


def test_what_is_wrong_later_is_the_last_line(service: TestClient) -> None:
    first, last = lines(post(service, part(IMAGES[0]) + DELIMITER))
    assert first["prediction"]
    assert (last["number"], last["problem"]["type"]) == (None, "urn:cxr:problem:malformed-multipart")


def test_a_limit_on_bytes_is_of_each_file(exported_run: Path) -> None:
    app = create_app(settings(exported_run, CXR_MAX_BYTES="20000"))
    large = bytes(30_000)
    with TestClient(app, base_url="http://localhost") as service:
        assert len(lines(post(service, part(IMAGES[0]) * 20 + END))) == 20  # together more than that
        answer = post(service, part(large) + END)
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:cxr:problem:too-many-bytes")
        first, last = lines(post(service, part(IMAGES[0]) + part(large) + part(IMAGES[0]) + END))
        assert first["prediction"]
        assert (last["number"], last["problem"]["status"]) == (None, 413)
        assert app.state.service.uploads._held.total() == app.state.service.uploads.uploading == 0


@pytest.fixture
def app(exported_run: Path) -> Iterator[Any]:
    app = create_app(settings(exported_run))
    app.state.service.start()
    yield app
    app.state.service.stop()


def conversation(app: Any, receive: Any, send: Any) -> Any:
    """The application's answer to a request whose messages `receive` gives, message by message to `send`."""
    headers = [(b"host", b"localhost"), (b"content-type", BOUNDARY.encode())]
    scope = {"type": "http", "method": "POST", "path": "/predict/stream", "raw_path": b"/predict/stream"}
    scope |= {"query_string": b"", "headers": headers, "client": ("127.0.0.1", 1), "state": {}}
    return app(scope, receive, send)


def test_nothing_is_read_while_an_answer_waits_to_be_taken(app: Any) -> None:
    read, taken = 0, asyncio.Event()

    async def receive() -> dict:
        nonlocal read
        read += 1
        body = part(IMAGES[0]) if read <= 50 else END
        return {"type": "http.request", "body": body, "more_body": read <= 50}

    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)
        if len(sent) == 4:  # the head and three lines
            await taken.wait()

    async def scenario() -> None:
        answering = asyncio.create_task(conversation(app, receive, send))
        while len(sent) < 4:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert read <= 5
        taken.set()
        await answering

    asyncio.run(scenario())
    assert read == 51
    assert sum(b'"decision"' in message.get("body", b"") for message in sent) == 50


@pytest.mark.parametrize("ending", ["silence", "disconnection"])
def test_a_stream_that_ends_early_is_given_up(app: Any, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr(stream, "PATIENCE", 0.1)
    monkeypatch.setattr(stream, "MIN_RATE", 1_000_000)
    messages = [{"type": "http.request", "body": part(IMAGES[0]) + DELIMITER, "more_body": True}]
    if ending == "disconnection":
        messages.append({"type": "http.disconnect"})

    async def receive() -> dict:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(conversation(app, receive, send))
    first, last = (json.loads(message["body"]) for message in sent[1:-1])
    assert first["prediction"]
    name = "slow-upload" if ending == "silence" else "disconnected"
    assert (last["number"], last["problem"]["type"]) == (None, f"urn:cxr:problem:{name}")
    uploads = app.state.service.uploads
    assert (uploads.uploading, uploads._held.total()) == (0, 0)


@pytest.fixture(scope="module")
def running(exported_run: Path) -> Iterator[Running]:
    with serving(CXR_HOME=str(exported_run)) as service:
        yield service


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_an_answer_comes_before_the_next_file_is_sent(running: Running) -> None:
    with connect(running) as client:
        client.sendall(HEAD)
        received = b""
        for count, content in enumerate(IMAGES, 1):
            client.sendall(chunk(part(content).removeprefix(DELIMITER if count > 1 else b"") + DELIMITER))
            while received.count(b'"model_sha256"') < count:
                received += client.recv(65536)
            assert received.count(b'"model_sha256"') == count
        client.sendall(chunk(part(IMAGES[0]).removeprefix(DELIMITER) + END) + chunk(b""))
        while b"\r\n0\r\n\r\n" not in received:
            received += client.recv(65536)
        # The connection serves the next request.
        client.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
