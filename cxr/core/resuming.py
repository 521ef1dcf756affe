"""Where a killed stage finds what it goes on from, and the key that says to which result that belongs.

DVC removes a stage's outputs before it runs again, so these are files of their own, in .resume/<key>/: the
key is a hash of everything that determines the result.
"""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

FOLDER = Path(".resume")


def resume_key(settings: Iterable[object], files: Iterable[Path | str]) -> str:
    """16 hexadecimal digits: a hash of the settings, the files' bytes, PyTorch's version and the imported
    code of this repository."""
    digest = hashlib.sha256(repr([*settings, torch.__version__]).encode())
    code = [Path(source) for module in list(sys.modules.values()) if (source := _own_file(module))]
    for path in [*map(Path, files), *sorted(code)]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _own_file(module: object) -> str | None:
    name = getattr(module, "__name__", "")
    return getattr(module, "__file__", None) if name.split(".")[0] in ("cxr", "stages") else None
