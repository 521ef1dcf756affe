"""The running service under attack from its connections: heads, trailers, slow bodies, silence, hosts."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from benchmarks.service_attacks import CHUNKED, HEAD, PART
from benchmarks.service_load import resident
from scripts.running_service import Running, serving
from service import protocol
from tests.builders import ROOT, noise_images
from tests.service.test_limits import encoded

KB = 1024
CHUNK = b"%x\r\n%b\r\n" % (len(PART), PART)


@pytest.fixture(scope="module")
def running(exported_run: Path) -> Iterator[Running]:
    with serving(CXR_HOME=str(exported_run)) as service:
        yield service


def connect(running: Running) -> socket.socket:
    host, port = running.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def answer(running: Running, *parts: bytes) -> tuple[int, dict[str, str], dict]:
    """Status, headers and problem of what is answered to `parts`, of which the last may remain unread."""
    with connect(running) as client:
        with suppress(OSError):
            for part in parts:
                client.sendall(part)
        received = b""
        with suppress(OSError):
            while data := client.recv(65536):
                received += data
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    return int(first.split()[1]), headers, json.loads(body)


@pytest.mark.parametrize(
    "parts",
    [
        (HEAD + b"X: ", b"a" * 8_000_000),
        (HEAD, b"a: b\r\n" * 1_000_000),
        (b"GET /" + b"a" * 17 * KB + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",),
        (HEAD + b"X: " + b"a" * 17 * KB + b"\r\n\r\n",),
        (CHUNKED + CHUNK + b"0\r\n", b"a: b\r\n" * 1_000_000),
        (CHUNKED + CHUNK + b"0\r\nX: ", b"a" * 8_000_000),
        (CHUNKED, b"1;", b"a" * 8_000_000),
        (CHUNKED + CHUNK, b"1\r\nx\r\n" * 1_000_000),
    ],
    ids=["value", "many", "path", "complete", "trailers", "trailer", "extension", "tiny chunks"],
)
def test_a_head_has_a_limit_whatever_it_consists_of(running: Running, parts: tuple[bytes, ...]) -> None:
    before = resident(running.process.pid)
    status, _, problem = answer(running, *parts)
    assert (status, problem["type"]) == (431, "urn:cxr:problem:head-too-large")
    assert resident(running.process.pid) - before < 5


def test_a_head_below_the_limit_and_chunks_of_a_kilobyte_are_read(running: Running) -> None:
    file = encoded(noise_images(1, 90)[0], "PNG")
    body = PART + file + b"\r\n--b--\r\n"
    chunks = [body[start : start + KB] for start in range(0, len(body), KB)]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    padding = b"X: " + b"a" * 15 * KB + b"\r\n"
    with connect(running) as client:
        for _ in range(2):  # over one connection
            client.sendall(HEAD + padding + b"Transfer-Encoding: chunked\r\n\r\n" + sent)
            received = b""
            while b'"model_sha256"' not in received:
                received += client.recv(65536)
            assert received.startswith(b"HTTP/1.1 200")


def test_what_is_no_http_is_a_problem(running: Running) -> None:
    status, _, problem = answer(running, b"\x16\x03\x01 this is not HTTP\r\n\r\n")
    assert (status, problem["type"]) == (400, "urn:cxr:problem:malformed-http")


def test_slow_bodies_take_no_place_and_are_given_up(exported_run: Path) -> None:
    with serving(CXR_HOME=str(exported_run), CXR_QUEUE="1") as running, ExitStack() as stack:
        slow = [stack.enter_context(connect(running)) for _ in range(10)]  # more than there are places
        for client in slow:
            client.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + PART)
        image = {"file": ("a", encoded(noise_images(1)[0], "PNG"))}
        assert httpx.post(f"{running.address}/predict", files=image).status_code == 200
        start, received = time.monotonic(), b""
        with suppress(OSError):
            while time.monotonic() < start + 20 and not received:
                slow[0].sendall(b"x")
                slow[0].settimeout(1)
                with suppress(TimeoutError):
                    received = slow[0].recv(4096)
        assert received.startswith(b"HTTP/1.1 408")


def test_one_address_cannot_take_all_connections(running: Running) -> None:
    with ExitStack() as stack:
        for _ in range(protocol.MAX_CLIENT_CONNECTIONS + 1):
            client = stack.enter_context(connect(running))
        assert client.recv(4096).startswith(b"HTTP/1.1 503")
        with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as other:
            assert other.get(f"{running.address}/health").status_code == 200


@pytest.mark.long
def test_connections_without_a_head_are_closed(running: Running) -> None:
    with connect(running) as silent, connect(running) as begun:
        begun.sendall(b"GET / HTTP/1.1\r\n")
        start = time.monotonic()
        assert (silent.recv(10), begun.recv(10)) == (b"", b"")
    assert time.monotonic() - start < protocol.HEAD_SECONDS + 5


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "localhost:80:80", "", "*"])
def test_an_unknown_host_is_refused_and_never_redirected_to(running: Running, host: str) -> None:
    refused = httpx.get(f"{running.address}/health", headers={"Host": host})
    assert (refused.status_code, refused.json()["type"]) == (421, "urn:cxr:problem:unknown-host")
    assert httpx.get(f"{running.address}/health/").status_code == 404  # no redirect


def test_head_is_answered_like_get_without_a_body(running: Running) -> None:
    for path in ("/", "/health", "/ready", "/metrics", "/docs", "/static/docs.js", "/nothing"):
        head, get = (httpx.request(method, running.address + path) for method in ("HEAD", "GET"))
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-type"] == get.headers["content-type"]


def test_neither_a_sighup_at_the_start_nor_hundreds_kill(exported_run: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "service", "--port", "0"]
    environment = {**os.environ, "CXR_HOME": str(exported_run), "PYTHONPATH": str(ROOT)}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.DEVNULL) as process,
    ):
        ignored = 1 << signal.SIGHUP - 1
        while not int(re.search(r"SigIgn:\s*(\w+)", status_of(process))[1], 16) & ignored:  # type: ignore[index]
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        while (loads := log.read_text().count("model loaded")) == 0:
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        for _ in range(200):
            process.send_signal(signal.SIGHUP)
        time.sleep(2)
        process.terminate()
        process.wait(30)
    # How many of those that come during a load are one: tests/service/test_service.py.
    assert loads == 1
    assert log.read_text().count("model loaded") >= 2
    assert '"event": "stopped"' in log.read_text()


def status_of(process: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{process.pid}/status").read_text()


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_nothing_is_reported_to_the_publisher_of_onnx_runtime(exported_run: Path, tmp_path: Path) -> None:
    """Neither a file in the home folder nor a connection to anywhere."""
    code = (
        "import time; from pathlib import Path; from cxr.inference.onnx_session import OnnxModel; "
        "OnnxModel(Path('models/classifier.onnx').read_bytes(), 1); time.sleep(1)"
    )
    trace, home = tmp_path / "trace", tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    subprocess.run(
        ["strace", "-f", "-e", "trace=socket,connect", "-o", trace, sys.executable, "-c", code],
        cwd=exported_run,
        env=kept | {"HOME": str(home), "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert list(home.rglob("*")) == []
    assert "connect(" not in trace.read_text()
