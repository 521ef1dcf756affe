"""Starts `python -m service` in another process, for tests and benchmarks."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cxr.core.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 120.0  # seconds for the first answer


@dataclass(frozen=True)
class Running:
    """address: its URL. seconds: from the start to the first answer."""

    address: str
    process: subprocess.Popen[bytes]
    seconds: float


@contextmanager
def serving(root: Path = ROOT, **variables: str) -> Iterator[Running]:
    """The service of the code in `root`, on a free port, with the model of the folder it is called in. Raises
    `UserError` if it does not answer. variables: of its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "service"]
    if not (root / "service/__main__.py").exists():  # an early version
        command = ["-m", "uvicorn", "service.app:app", "--no-access-log"]
    command += ["--port", str(port)]
    address, started = f"http://127.0.0.1:{port}", time.monotonic()
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "CXR_HOME": str(Path.cwd()), **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while not _answers(address):
                if process.poll() is not None or time.monotonic() > started + TIMEOUT:
                    raise UserError(f"the service does not answer; try python {' '.join(command)}")
                time.sleep(0.02)
            yield Running(address, process, time.monotonic() - started)
        finally:
            process.terminate()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except OSError:
        return False
