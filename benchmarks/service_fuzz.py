"""Tens of thousands of damaged and hostile uploads: no 5xx, memory below its bound, same answers after.

    python -m benchmarks.service_fuzz [--images 50000]

Starts `python -m service` on the model in models/ with room for radiographs of 4 million pixels, and posts
mutated files to /predict, /similar, /explain and /analyse in turn: intact files of all formats (see
`benchmarks.broken_images`) and those that attack a decoder (`benchmarks.attack_files`: scans in DICOM,
run-length data, floods of elements, and so on). Every hundredth request is an attack on the connection
instead: a flood of headers, of trailers or of chunk extensions, or a slow body. Prints the number of answers
of each status and kind, and the service's memory, its largest included. Exits with 1 if a status is not
allowed, if memory exceeds the bound of docs/security.md, or if an intact file is answered differently
afterwards.
"""

import argparse
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np

from benchmarks.attack_files import attack_files
from benchmarks.broken_images import mutated, originals
from benchmarks.service_attacks import CHUNKED, HEAD, PART, answered, connection
from benchmarks.service_load import resident
from cxr.core.errors import UserError, run
from scripts.running_service import Running, serving

ALLOWED = {200, 400, 413, 415, 422}
PATHS = ("/predict", "/similar", "/explain", "/analyse")
SIDE = 2000
READING = 16 * SIDE**2 / 1e6  # MB, besides twice the file


def main() -> None:
    """Raises `UserError` if a status is not allowed, memory exceeds the bound or answers have changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    arguments = parser.parse_args()
    generator, intact = np.random.default_rng(0), originals()
    attacks = list(attack_files(SIDE, scale=0.02).values())
    statuses: Counter[int] = Counter()
    of_connections: Counter[str] = Counter()
    with (
        serving(CXR_MAX_PIXELS=str(SIDE**2)) as running,
        httpx.Client(base_url=running.address, timeout=60) as client,
    ):

        def ask(path: str, content: bytes) -> httpx.Response:
            return client.post(path, files={"file": ("image", content)})

        before = [ask("/predict", image).json() for image in intact]
        memory = Memory(running)
        print(f"{len(intact)} intact files, {len(attacks)} attacks; {memory.first:.0f} MB before", flush=True)
        for number in range(arguments.images):
            if number and number % max(1, arguments.images // 5) == 0:
                print(f"{memory.now():.0f} MB after {number:,}, at most {memory.largest:.0f}", flush=True)
            if number % 100 == 99:
                of_connections[on_connection(running, number // 100, generator)] += 1
                continue
            # Attacks cost most of the time: one in five.
            files = attacks if number % 5 == 0 else intact
            content = mutated(files[int(generator.integers(len(files)))], generator)
            status = ask(PATHS[number % len(PATHS)], content).status_code
            statuses[status] += 1
            if status not in ALLOWED:
                Path(f"upload-{number}").write_bytes(content)
                print(
                    f"{PATHS[number % len(PATHS)]}: status {status} for the upload in upload-{number}",
                    flush=True,
                )
        after = [ask("/predict", image).json() for image in intact]
        memory.end()
    print(", ".join(f"{count:,} x {status}" for status, count in sorted(statuses.items())))
    print(", ".join(f"{count:,} x {said}" for said, count in sorted(of_connections.items())))
    if set(statuses) - ALLOWED:
        raise UserError(f"statuses {sorted(set(statuses) - ALLOWED)} are not allowed")
    # As docs/security.md adds it up for all places: one request at a time leaves each of the two threads with
    # freed memory that the C library keeps.
    largest_file = max(map(len, attacks)) / 1e6
    bound = memory.first + 2 * (READING + 2 * largest_file) + 4 * largest_file
    print(f"memory: {memory.largest:.0f} MB at most, bound {bound:.0f} MB")
    if memory.largest > bound:
        raise UserError(f"{memory.largest:.0f} MB of memory, more than {bound:.0f}")
    if before != after:
        raise UserError("intact files are answered differently after the damaged ones")


class Memory:
    """The resident set of the service in MB, watched by a thread. first: at the start."""

    def __init__(self, running: Running) -> None:
        self._pid = running.process.pid
        self.first = self.largest = self.now()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def now(self) -> float:
        return resident(self._pid)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            self.largest = max(self.largest, self.now())


def on_connection(running: Running, number: int, generator: np.random.Generator) -> str:
    """One attack on a connection, of four kinds in turn: its name and the first line of the answer."""
    length = int(generator.integers(1_000, 2_000_000))
    name, start, rest = (
        ("flood of headers", HEAD, b"a: b\r\n" * (length // 6)),
        ("flood of trailers", CHUNKED + b"1\r\nx\r\n0\r\n", b"a: b\r\n" * (length // 6)),
        ("flood of chunk extensions", CHUNKED + b"1;", b"a" * length),
        ("slow body", HEAD + b"Content-Length: 100000\r\n\r\n" + PART, b""),
    )[number % 4]
    with connection(running) as client:
        try:
            client.sendall(start)
            client.sendall(rest)
            if not rest:
                for _ in range(3):  # and then it is given up
                    time.sleep(0.05)
                    client.sendall(b"x")
                return f"{name}: given up"
            client.sendall(b"\r\n")
        except OSError:
            pass  # the answer came before all was sent
        return f"{name}: {answered(client, 12)}"


if __name__ == "__main__":
    run(main)
