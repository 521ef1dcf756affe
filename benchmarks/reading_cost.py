"""What each of `benchmarks.attack_files` costs the reader: seconds of the processor, and memory.

    python -m benchmarks.reading_cost [--side 4000]

Every file is read in a process of its own, with SIDE x SIDE as the allowed maximum of pixels. Memory is the
growth of the largest resident set, the file itself included.
"""

import argparse
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.attack_files import attack_files

LIMIT = 120  # seconds for a file, of the clock
CODE = """
import io, pickle, resource, sys, time
from pathlib import Path
import numpy as np
import cxr.data.dicom
from cxr.core.errors import UserError
from cxr.data.radiograph import read_original_bytes
name, path, pixels = pickle.loads(sys.stdin.buffer.read())
size = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
for warm in Path(path).parent.glob("warm*"):
    read_original_bytes(warm.read_bytes(), "warm")
before, start, text = size(), time.process_time(), "read"
data = Path(path).read_bytes()
try:
    read_original_bytes(data, "file", pixels).resized(28, "medmnist")
except UserError as error:
    text = str(error)
print(round(time.process_time() - start, 2), (size() - before) // 1000, text, sep="\\t")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=4000)
    side = parser.parse_args().side
    for name, seconds, grown, text in costs(attack_files(side), side * side):
        print(
            f"| {name} | {seconds:.1f} s | {grown / 1e6:.0f} MB | {grown / side**2:.1f} | {text} |",
            flush=True,
        )


def costs(files: dict[str, bytes], pixels: int):
    """Name, seconds, bytes of memory and the error of each of `files`."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, "file")
            path.write_bytes(content)
            command = ["timeout", str(LIMIT), sys.executable, "-c", CODE]
            done = subprocess.run(command, input=pickle.dumps((name, str(path), pixels)), capture_output=True)
            if done.returncode:
                yield name, float("nan"), 0, f"exit {done.returncode} {done.stderr.decode()[-200:]}"
                continue
            seconds, grown, text = done.stdout.decode().strip().split("\t")
            yield name, float(seconds), 1000 * int(grown), text


if __name__ == "__main__":
    main()
