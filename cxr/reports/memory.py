"""Memory of a language model: whether it fits, checked before it is loaded, since the out-of-memory killer
gives no message; how much it took; how a GPU's is allocated."""

import json
import math
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from cxr.core.fetch import Setting

GIB = 2**30
BYTES = {"none": 2.0, "nf4": 0.5}  # at least, of a weight


def check_memory(setting: Setting, folder: Path, quantisation: str, device: torch.device) -> None:
    """Raises `UserError` if the weights in `folder` alone are larger than the memory of `device`."""
    weights = sum(_weights(path) for path in folder.glob("model*.safetensors"))
    needed, available = weights * BYTES[quantisation], capacity(device)
    if needed > available:
        raise setting.error(
            f"its weights need {needed / GIB:.1f} GiB, {device.type} has {available / GIB:.1f} GiB; "
            f"{advice(quantisation)}"
        )


def capacity(device: torch.device) -> int:
    """In bytes: the free memory of a GPU, the total memory of the machine for a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak(device: torch.device) -> int:
    """In bytes, the most that this process has held so far: of a GPU as allocated by PyTorch, of a CPU
    resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def set_allocator(allocator: Literal["default", "expandable_segments"]) -> None:
    """Of PyTorch on a GPU, see https://docs.pytorch.org/docs/stable/notes/cuda.html#memory-management. With
    `default` the environment variable PYTORCH_ALLOC_CONF remains in force."""
    if allocator == "expandable_segments":
        # What torch.cuda.memory's own deprecated setter names as its successor.
        torch._C._accelerator_setAllocatorSettings("expandable_segments:True")


def advice(quantisation: str) -> str:
    other = "set report.quantisation to nf4, " if quantisation == "none" else ""
    return f"{other}choose a smaller model, or set report.writer to template"


@contextmanager
def running_out(setting: Setting, quantisation: str, device: torch.device) -> Iterator[None]:
    """Out-of-memory errors in the block become a `UserError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # The CPU's allocator raises a plain RuntimeError.
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "can't allocate memory" not in str(error):
            raise
        raise setting.error(f"{device.type} has too little memory for it; {advice(quantisation)}") from None


def _weights(path: Path) -> int:
    """The number of weights in a .safetensors file, by its header (https://github.com/huggingface/safetensors)."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
