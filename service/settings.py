"""Settings from environment variables; no request can change them."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxr.core.errors import UserError
from cxr.inference.onnx_session import PATH

LOCAL = "localhost,127.0.0.1,[::1]"


@dataclass(frozen=True)
class Settings:
    """model: CXR_MODEL, an ONNX file of the stage export. home: CXR_HOME, the folder with models/, data/ and
    metrics/. revision: CXR_REVISION, the model's Git revision; None takes that of the repository in home.
    api_key: CXR_API_KEY, which requests have to send; None if no key is required. hosts: CXR_ALLOWED_HOSTS,
    separated by commas, in lower case; see `service.guard`.

    max_bytes: CXR_MAX_BYTES of a request's body. max_pixels: CXR_MAX_PIXELS of an image. max_files:
    CXR_MAX_FILES in a batch. queue: CXR_QUEUE, requests that may wait. timeout: CXR_TIMEOUT, seconds for a
    request's upload, and again for its answer. threads: CXR_THREADS of ONNX Runtime.
    """

    model: Path
    home: Path
    revision: str | None
    api_key: str | None
    hosts: frozenset[str]
    max_bytes: int
    max_pixels: int
    max_files: int
    queue: int
    timeout: int
    threads: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises `UserError` if a value is not a whole number of 1 or more."""

        def number(name: str, default: int) -> int:
            value = environment.get(name, str(default))
            if not re.fullmatch("0*[1-9][0-9]{0,14}", value):
                raise UserError(f"{name} is {value[:40]!r}; allowed: a whole number of 1 or more")
            return int(value)

        hosts = (environment.get("CXR_ALLOWED_HOSTS") or LOCAL).lower().split(",")
        home = Path(environment.get("CXR_HOME", "."))
        return cls(
            model=Path(environment.get("CXR_MODEL") or home / PATH),
            home=home,
            revision=environment.get("CXR_REVISION") or None,
            api_key=environment.get("CXR_API_KEY") or None,
            hosts=frozenset(host.strip() for host in hosts),
            max_bytes=number("CXR_MAX_BYTES", 64 * 2**20),
            max_pixels=number("CXR_MAX_PIXELS", 25_000_000),  # a 43 x 43 cm detector of 100 um has 18 million
            max_files=number("CXR_MAX_FILES", 16),
            queue=number("CXR_QUEUE", 64),
            timeout=number("CXR_TIMEOUT", 30),
            threads=number("CXR_THREADS", os.cpu_count() or 1),
        )
