"""The service on two nodes of a Ray cluster (`make test-ray`). Slow, for replicas take seconds to start."""

import io
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from benchmarks.broken_images import encoded
from benchmarks.service_on_ray import PORT, asking, deployed, replace, replicas
from scripts.running_service import serving
from service.pool import WORKERS
from tests.builders import noise_images, refused
from tests.cluster.nodes import LIMIT, wait_for

pytestmark = pytest.mark.slow

QUEUE = 1
CONFIGURED = {"CXR_QUEUE": str(QUEUE), "CXR_THREADS": "1", "CXR_REVISION": "r", "CXR_TIMEOUT": "300"}
IMAGE = encoded(noise_images(1, 90)[0], "PNG")
UPLOADS = ("/predict", "/predict/batch", "/predict/stream", "/similar", "/explain?alpha=0.4", "/analyse")
OTHERS = ("/", "/static/page.js", "/docs", "/openapi.json", "/health", "/ready", "/metadata", "/card")
OWN = {"date", "x-request-id"}  # headers of a moment and of a request


@pytest.fixture(scope="module")
def home(exported_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(exported_run, tmp_path_factory.mktemp("served"), dirs_exist_ok=True)


@pytest.fixture(scope="module")
def address(cluster: Any, home: Path) -> Iterator[str]:
    """Of the service with a replica on each node."""
    yield deployed(2, CXR_HOME=str(home), **CONFIGURED)
    deployed(0)


def answers(address: str) -> dict[str, tuple[int, dict[str, str], bytes]]:
    """Status, headers and body by request."""
    found = {}
    with httpx.Client(base_url=address, timeout=LIMIT) as client:
        for path in OTHERS:
            for method in ("GET", "HEAD"):
                found[f"{method} {path}"] = client.request(method, path)
        for path in UPLOADS:
            field = "files" if path.startswith("/predict/") else "file"
            for name, content in (("image", IMAGE), ("text", b"no image")):
                found[f"POST {path} {name}"] = client.post(path, files={field: ("a", content)})
        found["field"] = client.post("/predict", files={"other": ("a", IMAGE)})
        found["label"] = client.post("/explain?label=nothing", files={"file": ("a", IMAGE)})
        found["nothing"] = client.get("/nothing")
        found["host"] = client.get("/health", headers={"Host": "evil.example"})
        found["method"] = client.delete("/predict")
    return {
        name: (
            answer.status_code,
            {key: value for key, value in answer.headers.items() if key not in OWN},
            answer.content,
        )
        for name, answer in found.items()
    }


def test_answers_are_those_of_the_service_byte_for_byte(address: str, home: Path) -> None:
    with serving(CXR_HOME=str(home), **CONFIGURED) as alone:
        expected = answers(alone.address)
    statuses = [status for status, _, _ in expected.values()]
    assert {200, 404, 405, 415, 421, 422} <= set(statuses)
    found = answers(address)
    for name, answer in expected.items():
        assert found[name] == answer, name


def test_each_replica_admits_as_many_requests_as_the_service(address: str) -> None:
    file = io.BytesIO()
    Image.new("L", (4900, 5100)).save(file, "PNG")
    files = [("files", ("a", file.getvalue()))] * 8  # seconds, so that no place is free again meanwhile

    def post(_: int) -> httpx.Response:
        return httpx.post(f"{address}/predict/batch", files=files, timeout=LIMIT)

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(post, range(16)))
    admitted = [answer for answer in found if answer.status_code == 200]
    assert len(admitted) == 2 * (WORKERS + QUEUE)
    for answer in found:
        if answer not in admitted:
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:cxr:problem:busy")
            assert int(answer.headers["retry-after"]) >= 1


def test_a_model_is_replaced_without_a_failed_request(address: str, home: Path) -> None:
    models = [httpx.get(f"{address}/health").json()["model_sha256"][:8]]
    before = replicas()
    with asking(address, IMAGE, 2) as load:
        for _ in range(2):
            wait_for(lambda: load.answers["200", models[-1]] >= 20)
            replace(home / "models/classifier.onnx")
            deployed(2, CXR_HOME=str(home), **CONFIGURED)
            models.append(httpx.get(f"{address}/health").json()["model_sha256"][:8])
            known = load.answers.copy()
            wait_for(lambda: load.answers.total() >= known.total() + 20)  # noqa: B023
            later = load.answers - known
            # One request of each client may have been on its way.
            assert later.total() - later["200", models[-1]] <= 2
    assert len(set(models)) == 2
    assert {status for status, _ in load.answers} == {"200"}
    assert sorted(before) == sorted(replicas())  # processes were kept


def test_a_killed_replica_comes_back_and_the_other_answers(address: str) -> None:
    killed, other = replicas()
    with asking(address, IMAGE, 2) as load:
        wait_for(lambda: load.answers.total() >= 10)
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: other in (now := replicas()) and killed not in now and len(now) == 2)
        wait_for(lambda: load.answers.total() >= 20)
    failed = [status for status, _ in load.answers if status != "200"]
    assert sum(load.answers[status, ""] for status in failed) <= 2  # those that it was answering


def test_what_cannot_be_deployed_is_one_line(
    address: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refused("no model here"):
        deployed(2, CXR_HOME=str(tmp_path))
    with refused("Ray Serve listens on --host 127.0.0.1", "--replicas 0"):
        deployed(2, port=PORT + 1, CXR_HOME=str(home), **CONFIGURED)
    assert httpx.get(f"{address}/health").json()["status"] == "ok"


def test_no_path_or_name_reaches_a_log(cluster: Any, address: str) -> None:
    secret = "SurnameOfAPatient"
    httpx.get(f"{address}/{secret}?{secret}={secret}")
    httpx.post(f"{address}/predict", files={"file": (f"{secret}.png", IMAGE)}, headers={"X-Name": secret})
    folder = Path(cluster.head_node.get_logs_dir_path())
    logs = [path for path in folder.rglob("*") if path.is_file()]
    assert any("proxy" in path.name for path in logs)
    assert not [path for path in logs if secret.encode() in path.read_bytes()]
