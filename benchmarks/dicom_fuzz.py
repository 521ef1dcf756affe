"""Damaged DICOM files of every transfer syntax: each is read or an error of one line, soon, in little memory.

    python -m benchmarks.dicom_fuzz [--files 2000]

Half of them are damaged anywhere, half in the compressed image alone, so that its decoder sees the damage.
Each transfer syntax is read by a process of its own, whose end by a signal is a row of the table.
"""

import argparse
import os
import resource
import time
from collections.abc import Iterator

import numpy as np
from pydicom.uid import UID

from benchmarks.broken_images import mutated
from benchmarks.dicom_files import ENCODERS, LOSSLESS, in_syntax
from cxr.core.errors import UserError
from cxr.data.radiograph import read_original_bytes
from tests.builders import noise_images

SYNTAXES = tuple(dict.fromkeys((*LOSSLESS, *ENCODERS)))
SIDE = 48
PIXELS_ALLOWED = 10**6  # so that a mutated size is soon refused, or decoded in little time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000, help="of each transfer syntax")
    files = parser.parse_args().files
    print("| transfer syntax | read | refused | slowest | memory |\n|---|---|---|---|---|")
    for syntax in SYNTAXES:
        if not (child := os.fork()):
            print(f"| {syntax.name} ({syntax}) | {' | '.join(_measured(syntax, files))} |", flush=True)
            os._exit(0)
        if status := os.waitpid(child, 0)[1]:
            print(f"| {syntax.name} ({syntax}) | ended with status {status} | | | |", flush=True)


def damaged(syntax: UID, files: int) -> Iterator[bytes]:
    """The same ones at each call."""
    generator = np.random.default_rng(0)
    pixels = noise_images(1, SIDE)[0]
    bits = 12 if ENCODERS.get(syntax) and syntax.endswith(".51") else 8
    intact = in_syntax(pixels if bits == 8 else pixels.astype(np.uint16) * 16, syntax, bits)
    start = intact.rindex(b"\xe0\x7f\x10\x00") if b"\xe0\x7f\x10\x00" in intact else len(intact) // 2
    for number in range(files):
        if number % 2:
            yield mutated(intact, generator)
        else:
            yield intact[:start] + _same_length(intact[start:], generator)


def _same_length(content: bytes, generator: np.random.Generator) -> bytes:
    """With a few bytes changed, more of them near its start, where the headers are."""
    data = bytearray(content)
    for _ in range(generator.integers(1, 6)):
        end = min(len(data), 150) if generator.integers(2) else len(data)
        data[generator.integers(12, end)] = generator.integers(256)
    return bytes(data)


def _measured(syntax: UID, files: int) -> Iterator[str]:
    read, slowest = 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in damaged(syntax, files):
        start = time.process_time()
        try:
            read_original_bytes(content, "file", PIXELS_ALLOWED).resized(28)
            read += 1
        except UserError:
            pass
        slowest = max(slowest, time.process_time() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    yield from (str(read), str(files - read), f"{slowest:.2f} s", f"{memory / 1000:.0f} MB")


if __name__ == "__main__":
    main()
