"""The time of the service for one radiograph: reading, and inference in ONNX Runtime and in PyTorch.

    python -m benchmarks.service_inference [--threads 2] [--rounds 100]

Uses the model in models/ (`dvc repro export`). PyTorch and ONNX Runtime alternate, so that load from other
processes affects both; medians and minima are of ROUNDS calls. The file that is read is a JPEG of 1,000 x
1,000 pixels, a gradient with noise. Measured with the default model and one thread: ONNX Runtime needs 0.24
of PyTorch's time for one radiograph, and 0.75 of it for 32 at a time.
"""

import argparse
import io
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from cxr.data.radiograph import read_original_bytes
from cxr.inference.onnx_session import PATH, OnnxModel
from cxr.models.classifier import load_classifier, predict

CPU = torch.device("cpu")
SIDE = 1000
BATCHES = (1, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, onnx = load_classifier(), OnnxModel(PATH.read_bytes(), arguments.threads)
    size, generator = model.spec.size, np.random.default_rng(0)

    gradient = np.add.outer(np.linspace(0, 120, SIDE), np.linspace(0, 120, SIDE))
    image = (gradient + generator.normal(0, 4, (SIDE, SIDE))).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    content = file.getvalue()
    times = alternate(
        {"reading": lambda: read_original_bytes(content, "image").resized(size)}, arguments.rounds
    )
    print(f"reading a JPEG of {len(content) / 1000:,.0f} kB   {in_words(times['reading'])}")

    for batch in BATCHES:
        images = generator.integers(0, 256, (batch, size, size), dtype=np.uint8)
        methods: dict[str, Callable[[], object]] = {
            "PyTorch": lambda images=images: predict(model, images, CPU),
            "ONNX Runtime": lambda images=images: onnx(images),
        }
        times = alternate(methods, max(3, arguments.rounds // batch))
        for name, seconds in times.items():
            print(f"{name:13} {batch:3} at a time   {in_words(seconds / batch)}")
        ratio = np.median(times["ONNX Runtime"]) / np.median(times["PyTorch"])
        print(f"ONNX Runtime / PyTorch, {batch} at a time: {ratio:.2f}")


def alternate(methods: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """(rounds,) seconds of the calls of each method, after three warm-up calls."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(rounds + 3):
        for name, call in methods.items():
            start = time.perf_counter()
            call()
            if number >= 3:
                times[name].append(time.perf_counter() - start)
    return {name: np.array(seconds) for name, seconds in times.items()}


def in_words(seconds: np.ndarray) -> str:
    return (
        f"median {1000 * np.median(seconds):6.1f} ms, minimum {1000 * seconds.min():6.1f} ms per radiograph"
    )


if __name__ == "__main__":
    main()
