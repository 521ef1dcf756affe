"""Device, threads and precision, set in the same way in every stage that computes with PyTorch."""

import os
import platform
from pathlib import Path
from typing import Literal

import torch

from cxr.core.errors import UserError

Precision = Literal["bf16", "float32"]
# As `torch.cpu.get_capabilities` names them; the last one is that of ARM.
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")


def configure(device: str, threads: int) -> torch.device:
    """Set the number of CPU threads, switch to deterministic algorithms, and return the device to use.

    device: auto (CUDA if available), cpu or cuda. Raises `UserError` for cuda where it is not available.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "params.yaml: compute.device is cuda, but PyTorch finds no CUDA device; set it to cpu or auto"
        )
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.allow_tf32 = False  # lower precision is used under autocast alone
    use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_cuda else "cpu")


def has_bf16(device: torch.device) -> bool:
    """Whether `device` has instructions for bfloat16; elsewhere float32 is faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in BF16_INSTRUCTIONS)


def choose_precision(precision: Literal["auto"] | Precision, device: torch.device) -> Precision:
    """What `precision` says; for "auto" bf16 where `device` has instructions for it, float32 elsewhere."""
    if precision == "auto":
        return "bf16" if has_bf16(device) else "float32"
    return precision


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Mixed precision with bfloat16 for precision "bf16"; no change for "float32"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def processor() -> str:
    """The type of this machine's processor, on which the last digits of results depend."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
