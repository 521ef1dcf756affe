"""The service's memory with all places taken by the files that need most of it, under compose.yaml's limit.

    python -m benchmarks.service_memory [--seconds 40]     (as root: it makes a memory control group)

Starts `python -m service` on the model in models/ in a control group of Linux (cgroup, version 1 or 2) with
the limit of `mem_limit`, without swap. 72 clients of 12 addresses post radiographs of 25 million pixels in
the formats that need most memory. Prints the answers by status and the group's largest use, and exits with 1
if the kernel ended the service or a request got no answer.
"""

import argparse
import contextlib
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks.attack_files import attack_files
from cxr.core.errors import UserError, run
from scripts.running_service import ROOT, Running, serving

SIDE = 5000  # CXR_MAX_PIXELS by default
ADDRESSES, CLIENTS = 12, 72
KINDS = ("PNG, RGBA", "PNG, 16 bit", "DICOM, 16 bit", "DICOM, RGB 16 bit run-length", "DICOM, JPEG 2000")
GROUPS = Path("/sys/fs/cgroup")


def main() -> None:
    """Raises `UserError` if there is no control group to be made, or if the limit was exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=40)
    arguments = parser.parse_args()
    stated = re.search(r"mem_limit: (\d+)m", (ROOT / "compose.yaml").read_text())
    assert stated
    limit = int(stated[1]) * 2**20
    files = [content for name, content in attack_files(SIDE, scale=0.01).items() if name in KINDS]
    with control_group(limit) as (group, largest), contextlib.ExitStack() as stack:
        join(group)
        running = stack.enter_context(serving())
        join(group.parent)
        answers: Counter[str] = Counter()
        end = time.monotonic() + arguments.seconds
        threads = [
            threading.Thread(target=post, args=(running, number, files, end, answers))
            for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alive = running.process.poll() is None
        used = int(largest.read_text())
    print(", ".join(f"{count:,} x {answer}" for answer, count in sorted(answers.items())))
    print(f"{used / 1e6:,.0f} MB at most, of {limit / 1e6:,.0f} MB")
    if not alive or any(answer.startswith("none") for answer in answers):
        raise UserError("the service was ended, or left a request without an answer")


@contextlib.contextmanager
def control_group(limit: int) -> Iterator[tuple[Path, Path]]:
    """A new memory control group, and its file of the largest use. Raises `UserError` if none can be made."""
    version_1 = (GROUPS / "memory").is_dir()
    group = GROUPS / ("memory/cxr-memory" if version_1 else "cxr-memory")
    names = (
        ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max_usage_in_bytes")
        if version_1
        else ("memory.max", "memory.swap.max", "memory.peak")
    )
    try:
        group.mkdir()
        (group / names[0]).write_text(str(limit))
        with contextlib.suppress(OSError):  # a kernel that does not count swap
            (group / names[1]).write_text(str(limit if version_1 else 0))
        yield group, group / names[2]
    except PermissionError as error:
        raise UserError(f"{error.filename}: no control group can be made here; run as root") from None
    finally:
        for _ in range(50):  # until its last process has gone
            try:
                group.rmdir()
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.1)
            else:
                break


def join(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def post(running: Running, number: int, files: list[bytes], end: float, answers: "Counter[str]") -> None:
    """One file after the other, until the time `end`."""
    choice = random.Random(number)
    transport = httpx.HTTPTransport(local_address=f"127.0.0.{2 + number % ADDRESSES}")
    with httpx.Client(base_url=running.address, transport=transport, timeout=120) as client:
        while time.monotonic() < end:
            try:
                # Over a connection of its own: one that is kept may be closed while a request is on its way.
                headers, image = {"Connection": "close"}, choice.choice(files)
                answer = client.post("/predict", headers=headers, files={"file": ("image", image)})
                answers[str(answer.status_code)] += 1
            except httpx.HTTPError as error:
                answers[f"none ({type(error).__name__})"] += 1


if __name__ == "__main__":
    run(main)
