"""Device, precision and determinism."""

import pytest
import torch

from cxr.core import device
from tests.builders import refused

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_unavailable_cuda_is_an_error():
    with refused("params.yaml: compute.device is cuda", "set it to cpu or auto"):
        device.configure("cuda", 1)


def test_stages_compute_with_deterministic_algorithms_and_the_stated_threads():
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(False)
    device.configure("cpu", 3)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 3
    torch.set_num_threads(threads)


def test_float32_is_float32_on_cuda_too():
    torch.backends.cudnn.allow_tf32 = True
    device.configure("auto", 1)
    assert not torch.backends.cudnn.allow_tf32


BARE = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [
        (BARE, "float32"),
        (BARE | {"avx512_bf16": True}, "bf16"),
        (BARE | {"avx512_bf16": True, "amx_bf16": True}, "bf16"),
        ({"architecture": "arm64", "neon": True, "bf16": False}, "float32"),
        ({"architecture": "arm64", "neon": True, "bf16": True}, "bf16"),
        ({"architecture": "unknown"}, "float32"),
    ],
)
def test_bf16_where_the_processor_has_it(monkeypatch, capabilities, chosen):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert device.has_bf16(CPU) == (chosen == "bf16")
    assert device.choose_precision("auto", CPU) == chosen
    assert [device.choose_precision(stated, CPU) for stated in ("bf16", "float32")] == ["bf16", "float32"]


@pytest.mark.parametrize(("native", "chosen"), [(True, "bf16"), (False, "float32")])
def test_bf16_where_the_gpu_has_it(monkeypatch, native, chosen):
    def supported(including_emulation=True):
        return including_emulation or native  # older GPUs emulate it

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert device.choose_precision("auto", torch.device("cuda")) == chosen


def test_autocast_computes_in_the_stated_precision():
    matrix = torch.ones(2, 2)
    for precision, expected in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        with device.autocast(CPU, precision):
            assert (matrix @ matrix).dtype == expected
