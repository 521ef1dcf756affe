"""Device, threads and precision, set the same way in every stage that computes with PyTorch."""

import os

import torch

from cxr.core.errors import UserError


def configure(device: str, threads: int) -> torch.device:
    """Fix the number of `threads`, ask for deterministic kernels, and return the device to use.

    device: auto (CUDA if there is one), cpu or cuda. Raises `UserError` for cuda where there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "params.yaml: compute.device is cuda, but PyTorch finds no CUDA device; set it to cpu or auto"
        )
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32; mixed precision is asked for by name
    use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_cuda else "cpu")


def emulates_bf16(device: torch.device) -> bool:
    """Whether `device` is an x86 processor without bf16 arithmetic, where float32 is faster."""
    has = torch.cpu.get_capabilities()
    return (
        device.type == "cpu"
        and has["architecture"] == "x86_64"
        and not (has["avx512_bf16"] or has["amx_bf16"])
    )


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision with bfloat16 for `precision` "bf16"; no change for "float32"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
