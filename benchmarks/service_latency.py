"""The latency of one request at a time against its floor.

    python -m benchmarks.service_latency [--rounds 300] [--path /predict]

The floor is the sum of three medians: reading the radiograph (decoding and resizing) and running the network,
both in this process and on one core, and HTTP: the same body sent to the same service in a field of another
name, which it receives, parses and answers with 422. All of them alternate with the request itself, so that
load from other processes affects them alike. Uses the model in models/ (`dvc repro export`); the radiographs
are JPEG files of 1,000 x 1,000 and 2,000 x 1,600 pixels, gradients with noise.
"""

import argparse
import http.client
import io
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from benchmarks.service_inference import alternate
from cxr.core.dataset import Reading
from cxr.core.errors import UserError, run
from cxr.data.radiograph import read_original_bytes
from cxr.inference.onnx_session import PATH, OnnxModel
from scripts.running_service import serving

SIZES = ((1000, 1000), (2000, 1600))  # width, height
BOUNDARY = "image"
COLUMNS = (
    *("JPEG", "reading", "network", "HTTP", "floor p50"),
    *("request p50", "request p99", "p50 / floor", "p99 / p50"),
)


def main() -> None:
    """Raises `UserError` if the service does not answer as expected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--path", default="/predict", help="endpoint (default: %(default)s)")
    arguments = parser.parse_args()
    model = OnnxModel(PATH.read_bytes(), threads=1)
    size, reading = model.facts.size, model.facts.reading
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    with serving() as running:
        for width, height in SIZES:
            content = jpeg(width, height)
            image = read_original_bytes(content, "image").resized(size, reading)[None]
            connection = http.client.HTTPConnection(running.address.removeprefix("http://"))
            send = partial(post, connection, arguments.path, content)
            parts: dict[str, Callable[[], object]] = {
                "reading": partial(read, content, size, reading),
                "network": partial(model, image),
                "HTTP": partial(send, "other", 422),
                "request": partial(send, "file", 200),
            }
            times = {name: 1000 * seconds for name, seconds in alternate(parts, arguments.rounds).items()}
            medians = {name: float(np.median(values)) for name, values in times.items()}
            p50, p99 = medians.pop("request"), float(np.percentile(times["request"], 99))
            floor = sum(medians.values())
            values = [*medians.values(), floor, p50, p99]
            milliseconds = " | ".join(f"{value:.1f} ms" for value in values)
            name = f"{width:,} x {height:,}, {len(content) / 1000:,.0f} kB"
            print(f"| {name} | {milliseconds} | {p50 / floor:.2f} | {p99 / p50:.2f} |", flush=True)


def read(content: bytes, size: int, reading: Reading) -> np.ndarray:
    return read_original_bytes(content, "image").resized(size, reading)


def jpeg(width: int, height: int) -> bytes:
    generator = np.random.default_rng(0)
    gradient = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 120, width))
    image = (gradient + generator.normal(0, 4, (height, width))).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    return file.getvalue()


def post(connection: http.client.HTTPConnection, path: str, content: bytes, field: str, status: int) -> None:
    """Raises `UserError` if the answer has another status."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="image"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    connection.request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != status:
        raise UserError(f"{path}: status {answer.status}: {text.decode()[:200]}")


if __name__ == "__main__":
    run(main)
