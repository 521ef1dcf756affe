"""Device, threads and precision, set in the same way in every stage that computes with PyTorch."""

import os

import torch

from cxr.core.errors import UserError


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


def bf16_is_emulated(device: torch.device) -> bool:
    """Whether `device` is an x86 processor without bf16 instructions, where float32 is faster."""
    capabilities = torch.cpu.get_capabilities()
    return (
        device.type == "cpu"
        and capabilities["architecture"] == "x86_64"
        and not (capabilities["avx512_bf16"] or capabilities["amx_bf16"])
    )


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision with bfloat16 for precision "bf16"; no change for "float32"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
