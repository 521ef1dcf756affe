"""scripts/docker_image.py runs the steps of a Dockerfile and fails where `docker build` would."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import docker_image
from tests.builders import ROOT, refused

DOCKERFILE = """\
# The first stage builds what the second one serves.
FROM python:3.11-slim AS built
WORKDIR /app
ARG WORD=good
COPY page.txt folder ./
RUN mkdir site && cat page.txt > \\
    site/$WORD.txt

FROM python:3.11-slim
WORKDIR /app
RUN useradd somebody
COPY --from=built /app/site .venv
COPY cxr cxr
COPY service service
ENV PLACE=/app/.venv PATH=/app/.venv/bin:$PATH
EXPOSE {port}
HEALTHCHECK --interval=1s \\
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/.venv/good.txt')"]
CMD ["python", "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("page.txt", "folder/kept.txt", "cxr/a.py", "service/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("0123456789")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "Dockerfile").write_text(DOCKERFILE.replace("{port}", str(free.getsockname()[1])))
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "cxr" / "__pycache__").mkdir()
    (tmp_path / "cxr" / "__pycache__" / "a.pyc").write_bytes(b"not for the image")
    monkeypatch.chdir(tmp_path)
    # A clean virtual environment takes seconds to create; that of the tests is enough.
    monkeypatch.setattr(docker_image, "python", lambda root: str(Path(sys.executable).parent))
    monkeypatch.setattr(docker_image, "TIMEOUT", 10)
    return tmp_path


def test_stages_copies_and_health(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docker_image.main()
    app = repository / "build/image/root/app"
    files = sorted(path.relative_to(app).as_posix() for path in app.rglob("*") if path.is_file())
    assert files == [".venv/good.txt", "cxr/a.py", "service/b.py"]
    output = capsys.readouterr().out
    assert "healthy after" in output
    assert "RUN useradd somebody\n  (skipped here)" in output
    assert f"about {docker_image.BASE_MB} MB" in output


def test_a_failing_step_is_an_error(repository: Path) -> None:
    text = (repository / "Dockerfile").read_text()
    (repository / "Dockerfile").write_text(text.replace("mkdir site", "mkdir missing/site"))
    with refused("Dockerfile", "exit code 1", "RUN mkdir missing/site"):
        docker_image.main()


def test_an_unhealthy_service_is_an_error(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_image, "TIMEOUT", 2)
    text = (repository / "Dockerfile").read_text()
    (repository / "Dockerfile").write_text(text.replace("/.venv/good.txt", "/.venv/bad.txt"))
    with refused("Dockerfile", "HEALTHCHECK did not succeed"):
        docker_image.main()


def test_the_image_has_no_pytorch_and_no_root() -> None:
    steps = docker_image.instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert ("USER", "cxr") in steps
    assert all(rest.startswith("python:3.11-slim") for word, rest in steps if word == "FROM")
    (sync,) = [rest for _, rest in steps if rest.startswith("uv sync")]
    layer = [part for part in sync.split()[2:] if part not in ("--no-cache", "--compile-bytecode")]
    export = ["uv", "export", *layer, "--no-hashes"]
    export[export.index("--no-install-project")] = "--no-emit-project"
    packages = subprocess.run(export, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "onnxruntime==" in packages
    assert "uvicorn==" in packages
    assert not any(line.startswith(("torch", "nvidia", "scipy")) for line in packages.splitlines())
