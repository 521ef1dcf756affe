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
def serving(**variables: str) -> Iterator[Running]:
    """The service on a free port; raises `UserError` if it does not answer. variables: of its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "service", "--port", str(port)]
    address, started = f"http://127.0.0.1:{port}", time.monotonic()
    with subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
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
