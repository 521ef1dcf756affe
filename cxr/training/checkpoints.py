"""A training that was killed goes on from its last finished epoch, to the same bytes.

DVC removes a stage's outputs before it runs again, so this state lies beside them, in
.resume/<key>/member_<i>.pt: the key is a hash of all that decides the result. It is removed when the stage
has succeeded.
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
    """A hash of the settings' text, the files' bytes, PyTorch's version and this repository's code."""
    digest = hashlib.sha256(repr([*settings, torch.__version__]).encode())
    code = [Path(found) for module in list(sys.modules.values()) if (found := _own_file(module))]
    for checkpoint_path in [*map(Path, files), *sorted(code)]:
        with checkpoint_path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _own_file(module: object) -> str | None:
    name = getattr(module, "__name__", "")
    return getattr(module, "__file__", None) if name.split(".")[0] in ("cxr", "stages") else None


def checkpoint_path(resume_key: str, member: int) -> Path:
    return FOLDER / resume_key / f"member_{member}.pt"


def save_checkpoint(checkpoint_path: Path, state: dict[str, Any]) -> None:
    """Whole or not at all: a kill while writing leaves the state of the epoch before."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic(checkpoint_path) as temporary:  # which knows a full disk, where PyTorch's own writer does not
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(checkpoint_path: Path) -> dict[str, Any] | None:
    """What was saved last, with tensors on the CPU; None if there is nothing."""
    return (
        torch.load(checkpoint_path, map_location="cpu", weights_only=True)
        if checkpoint_path.is_file()
        else None
    )


def clear_checkpoints() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
