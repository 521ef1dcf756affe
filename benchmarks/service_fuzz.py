"""Thousands of damaged files posted to the running service: no 5xx, no memory growth, same answers after.

    python -m benchmarks.service_fuzz [--images 5000]

Starts `python -m service` on the model in models/, and posts mutated image files of several kinds (see
`benchmarks.broken_images`) to /predict, /similar, /explain and /analyse in turn. Prints the number of answers
of each status, and the service's memory after each fifth. Exits with 1 if a status is not allowed, or if an
intact file is answered differently afterwards.
"""

import argparse
from collections import Counter

import httpx
import numpy as np

from benchmarks.broken_images import mutated, originals
from benchmarks.service_load import resident
from cxr.core.errors import UserError, run
from scripts.running_service import serving

ALLOWED = {200, 400, 413, 415, 422}
PATHS = ("/predict", "/similar", "/explain", "/analyse")


def main() -> None:
    """Raises `UserError` if a status is not allowed or answers have changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    arguments = parser.parse_args()
    generator, images = np.random.default_rng(0), originals()
    statuses: Counter[int] = Counter()
    with serving() as running, httpx.Client(base_url=running.address, timeout=60) as client:

        def ask(path: str, content: bytes) -> httpx.Response:
            return client.post(path, files={"file": ("image", content)})

        before = [ask("/predict", image).json() for image in images]
        print(f"{len(images)} kinds of file; memory {resident(running.process.pid):.0f} MB before", end="")
        for number in range(arguments.images):
            content = mutated(images[number % len(images)], generator)
            statuses[ask(PATHS[number % len(PATHS)], content).status_code] += 1
            if (number + 1) % (arguments.images // 5) == 0:
                print(f", {resident(running.process.pid):.0f} after {number + 1:,}", end="", flush=True)
        after = [ask("/predict", image).json() for image in images]
    print("\n" + ", ".join(f"{count:,} x {status}" for status, count in sorted(statuses.items())))
    if set(statuses) - ALLOWED:
        raise UserError(f"statuses {sorted(set(statuses) - ALLOWED)} are not allowed")
    if before != after:
        raise UserError("intact files are answered differently after the damaged ones")


if __name__ == "__main__":
    run(main)
