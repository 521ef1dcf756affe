"""`uvicorn service.app:app` in a process of its own, for tests and benchmarks."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cxr.core.errors import UserError
from tests.builders import ROOT

PATIENCE = 30.0  # seconds for the first answer


@dataclass(frozen=True)
class Running:
    """seconds: from its start to its first answer."""

    address: str
    process: subprocess.Popen[bytes]
    seconds: float


@contextmanager
def serving(**variables: str) -> Iterator[Running]:
    """variables: added to the environment. Raises `UserError` if the service does not answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "uvicorn", "service.app:app", "--port", str(port), "--no-access-log"]
    address, started = f"http://127.0.0.1:{port}", time.monotonic()
    with subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while not _answers(address):
                if process.poll() is not None or time.monotonic() > started + PATIENCE:
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
