"""A client of the service in the test's process, and what it is asked."""

import io
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from service.app import create_app
from service.settings import Settings


def settings(home: Path, **changes: str) -> Settings:
    return Settings.from_environment({"CXR_HOME": str(home), "CXR_THREADS": "1", **changes})


def client(home: Path, **changes: str) -> TestClient:
    app = create_app(settings(home, **changes))
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


def ask(service: TestClient, content: bytes, path: str = "/predict"):
    return service.post(path, files={"file": ("image", content)})


def explained(service: TestClient, content: bytes, query: str) -> np.ndarray:
    answer = ask(service, content, f"/explain?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    return np.asarray(Image.open(io.BytesIO(answer.content))).astype(float)
