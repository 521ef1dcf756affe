"""What source `table` costs: images per second, peak memory, and whether a killed conversion ends as another.

    python -m benchmarks.table_conversion [--images 50000] [--size 224]

The files are PNG, in a temporary folder: `DRAWN` synthetic radiographs, copied with a number in their first
pixels, so that no two are equal. The stage download reads them twice, once killed (SIGKILL) after `KILLED_AT`
of them and started again; then the stage split. Peak memory is the largest resident set of a process,
of the stage split with the two arrays that it maps, whose pages the system can take back.
"""

import argparse
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from cxr.core.errors import UserError, run
from cxr.core.files import read_json, sha256, write_csv
from cxr.data.conversion import RESUME
from cxr.data.manifest import IMAGES
from cxr.data.phantom.cohort import CLASSES, make_phantoms
from cxr.recipes import apply_recipe

ROOT = Path(__file__).resolve().parents[1]
DRAWN = 500  # to draw one takes as long as to read ten
KILLED_AT = 0.4
PARAMS = """\
download: {{source: table, folder: {folder}/images, size: {size}}}
table: {{file: {folder}/table.csv, labels: any}}
split: {{method: stratified, by_patient: true}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000, help="files; default: %(default)s")
    parser.add_argument("--size", type=int, default=224, help="pixels per side; default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        start = time.perf_counter()
        write_files(folder, arguments.images, arguments.size)
        print(f"{arguments.images:,} files written in {time.perf_counter() - start:.0f} s")
        download(folder, arguments.images)
        whole = sha256(folder / IMAGES)
        (folder / IMAGES).unlink()
        killed = kill(folder, arguments.images)
        download(folder, arguments.images, f", going on after SIGKILL at {killed:,} files")
        same = sha256(folder / IMAGES) == whole
        print(f"images.npy after SIGKILL and restart: {'the same bytes' if same else 'OTHER BYTES'}")
        with stage(folder, "split") as process:
            print(f"stage split: {measured(process)}")
        if not same:
            raise UserError("a resumed conversion gives other bytes")


def write_files(folder: Path, images: int, size: int) -> None:
    """images/, table.csv and params.yaml in `folder`."""
    drawn = make_phantoms((DRAWN // 2, DRAWN - DRAWN // 2), size, 0, "train")
    rows = []
    for number in range(images):
        source, directory = number % DRAWN, f"{number // 1000:04}"
        pixels = drawn.images[source].copy()
        pixels[0, :4] = np.frombuffer(number.to_bytes(4, "little"), np.uint8)
        (folder / "images" / directory).mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        path = f"{directory}/{number:07}.png"
        (folder / "images" / path).write_bytes(file.getvalue())
        rows.append((path, CLASSES[drawn.labels[source]], f"{number // DRAWN}-{drawn.patients[source]}"))
    write_csv(folder / "table.csv", ("path", "label", "patient"), rows)
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    changes = folder / "changes.yaml"
    changes.write_text(PARAMS.format(folder=folder, size=size), encoding="utf-8")
    apply_recipe(changes, folder / "params.yaml")


@contextmanager
def stage(folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A stage of the pipeline as a process in `folder`, which is killed if the block fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"stages.{name}"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    except BaseException:
        process.kill()
        raise


def measured(process: subprocess.Popen[bytes]) -> str:
    """Waits for the end. Raises `UserError` if the stage fails."""
    start = time.perf_counter()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise UserError(f"{process.args[-1]} ended with {process.returncode}")
    seconds = usage.ru_utime + usage.ru_stime
    wall = time.perf_counter() - start
    return f"{wall:.0f} s, {seconds:.0f} s of processors, peak memory {usage.ru_maxrss / 1024:.0f} MB"


def download(folder: Path, images: int, note: str = "") -> None:
    start = time.perf_counter()
    with stage(folder, "download") as process:
        text = measured(process)
    rate = images / (time.perf_counter() - start)
    print(f"stage download{note}: {text}" + ("" if note else f", {rate:.0f} images per second"))


def kill(folder: Path, images: int) -> int:
    """Kill a conversion after `KILLED_AT` of its files; how many it had stored."""
    with stage(folder, "download") as process:
        while process.poll() is None:
            for progress in (folder / RESUME).glob("*/progress.json"):
                stored: int = read_json(progress)["files"]
                if stored >= KILLED_AT * images:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    return stored
            time.sleep(0.05)
    raise UserError("the conversion ended before it could be killed; take more images")


if __name__ == "__main__":
    run(main)
