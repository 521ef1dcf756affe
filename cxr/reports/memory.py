"""Whether a language model fits: asked before it is loaded, since a system without memory kills, unheard."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cxr.core.fetch import Setting

GIB = 2**30
BYTES = {"none": 2.0, "nf4": 0.5}  # a weight takes at least


def check_memory(setting: Setting, folder: Path, quantisation: str, device: torch.device) -> None:
    """Raises `UserError` if the weights in `folder` alone are larger than the memory of `device`."""
    weights = sum(_weights(path) for path in folder.glob("model*.safetensors"))
    needed, there = weights * BYTES[quantisation], capacity(device)
    if needed > there:
        raise setting.error(
            f"its weights take {needed / GIB:.1f} GiB where {device.type} has {there / GIB:.1f} GiB; "
            f"{advice(quantisation)}"
        )


def capacity(device: torch.device) -> int:
    """Bytes: what is free on a GPU, all there is of the machine's own memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def advice(quantisation: str) -> str:
    other = "set report.quantisation to nf4, " if quantisation == "none" else ""
    return f"{other}choose a smaller model, or set report.writer to template"


@contextmanager
def running_out(setting: Setting, quantisation: str, device: torch.device) -> Iterator[None]:
    """Memory that runs out becomes a `UserError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # The CPU's allocator raises a plain RuntimeError.
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "can't allocate memory" not in str(error):
            raise
        raise setting.error(f"{device.type} has too little memory for it; {advice(quantisation)}") from None


def _weights(path: Path) -> int:
    """How many numbers a .safetensors file holds, by its header (https://github.com/huggingface/safetensors)."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
