"""Checkpoints: a training that was killed continues after its last finished epoch, with the same final bytes.

DVC removes a stage's outputs before it runs again, so checkpoints are files of their own,
.resume/<key>/member_<i>.pt: the key is a hash of everything that determines the result. They are removed when
the stage has succeeded.
"""

import hashlib
import io
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from cxr.core.files import atomic

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


def checkpoint_path(resume_key: str, member: int) -> Path:
    return FOLDER / resume_key / f"member_{member}.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Written whole or not at all: a kill while writing leaves the checkpoint of the epoch before.

    Raises `UserError` if the disk is full.
    """
    buffer = io.BytesIO()  # PyTorch's own writer does not tell a full disk from other errors
    torch.save(state, buffer)
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The last saved state, with tensors on the CPU; None if there is none."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None


def clear_checkpoints() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
