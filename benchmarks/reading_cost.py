"""What each of `benchmarks.attack_files` costs the reader: seconds of the processor, and memory.

    python -m benchmarks.reading_cost [--side 4000]

Every file is read in a process of its own, with SIDE x SIDE as the allowed maximum of pixels. Memory is the
growth of the largest resident set, the file itself included.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.attack_files import attack_files

LIMIT = 60  # seconds of the processor for a file
CODE = """
import io, json, os, resource, sys, time
from pathlib import Path
import numpy as np, cxr.data.dicom
from PIL import Image
from cxr.core.errors import UserError
from cxr.data.radiograph import read_original_bytes
folder, pixels, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for kind in ("JPEG", "PNG", "JPEG2000", "WEBP", "BMP", "TIFF"):
    Image.new("RGBA" if kind == "PNG" else "RGB", (99, 99)).save(file := io.BytesIO(), kind)
    file.seek(0)
    Image.open(file).convert("L").convert("F").resize((28, 28))  # loads what they need
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
for path in sorted(folder.iterdir()):
    if not (child := os.fork()):
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        Path("/proc/self/clear_refs").write_text("5")
        before, start, text = peak(), time.process_time(), "read"
        try:
            read_original_bytes(path.read_bytes(), "file", pixels).resized(28, "medmnist")
        except UserError as error:
            text = str(error)
        print(json.dumps([path.name, time.process_time() - start, peak() - before, text]), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(json.dumps([path.name, limit, 0, "ended"]), flush=True)
"""


class Cost(NamedTuple):
    """seconds: of the processor. memory: bytes. said: "read", "ended" after `LIMIT`, or the error."""

    name: str
    seconds: float
    memory: int
    said: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=4000)
    side = parser.parse_args().side
    for name, seconds, memory, said in costs(attack_files(side), side * side):
        print(f"| {name} | {seconds:.1f} s | {memory / 1e6:.0f} MB | {memory / side**2:.1f} | {said[:90]} |")


def costs(files: dict[str, bytes], pixels: int) -> Iterator[Cost]:
    """The cost of each of `files`, as they are done. pixels: the allowed maximum."""
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(files.values()):
            Path(folder, f"{number:03}").write_bytes(content)
        names = list(files)
        command = [sys.executable, "-c", CODE, folder, str(pixels), str(LIMIT)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            for line in process.stdout:
                number, *rest = json.loads(line)
                yield Cost(names[int(number)], *rest)


if __name__ == "__main__":
    main()
