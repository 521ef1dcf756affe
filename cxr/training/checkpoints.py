"""Checkpoints: a training that was killed continues after its last finished epoch, with the same final bytes.

They are .resume/<key>/member_<i>.pt (`cxr.core.resuming`), removed when the stage has succeeded.
"""

import io
import shutil
from pathlib import Path
from typing import Any

import torch

from cxr.core.files import atomic
from cxr.core.resuming import FOLDER


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
