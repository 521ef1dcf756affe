"""Embeddings by a Ray cluster of two nodes of one CPU, against one process of two threads and two processes
of one thread, on the same two cores.

    python -m benchmarks.embeddings_on_ray                  # 100,000 phantoms of 224 pixels: 5 GB of disk
    python -m benchmarks.embeddings_on_ray 10000 224

The encoder is timm's test_vit with random weights, so fast that the cost of the engine shows. The phantoms
are a few hundred, repeated with noise. The ways take turns of `TURN` seconds, the processes of the others
being stopped, so that other load on the machine slows all of them alike. The rate of a way is its images over
the time of its turns, all of it: start of the process, loading, on the cluster also the hash of the images by
which a run is resumed, the start of the actors, and joining the shards. A cluster is there already when
someone asks it for embeddings: starting the nodes is not counted.

Memory is the largest sum over the worker processes of one node: anonymous memory, which is theirs alone, and
the resident set, which also counts pages of the mapped images that the system drops when it needs memory.

Then a run of `KILLED` images on the cluster is killed (SIGKILL to the driver) when a third of its shards
exist, and started again. docs/scale.md holds the results.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from benchmarks import embeddings_ways as ways
from cxr.core.errors import UserError, run
from cxr.core.files import npy_header, sha256, write_npy_rows
from cxr.core.resuming import FOLDER
from cxr.data.phantom.cohort import make_phantoms

TURN = 5.0  # seconds; longer, and Ray would take a stopped process for a lost one
DRAWN, BLOCK = 256, 512  # phantoms that are generated, images written at a time
KILLED = 30_000  # images
HEAD = ("way", "images/s", "over one process", "CPU seconds per 1,000", "anonymous, MB", "resident, MB")


def main() -> None:
    """Raises `UserError` if the disk is too full, or a way ends with an error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("size", type=int, nargs="?", default=224)
    arguments = parser.parse_args()
    count, size = arguments.count, arguments.size
    with tempfile.TemporaryDirectory(prefix="embeddings-") as name:
        folder = Path(name)
        needed, free = count * (size**2 + 4096), shutil.disk_usage(folder).free
        if free < 2 * needed:
            raise UserError(f"{folder}: {free / 1e9:.0f} GB are free, twice {needed / 1e9:.1f} GB are needed")
        ways.save_encoder(folder)
        save_phantoms(folder / ways.IMAGES, count, size)
        print(f"{count:,} phantoms of {size} pixels", flush=True)
        with ways.two_nodes() as (address, workers):
            race(folder, count, address, workers)
            if count > 3 * ways.SHARD:
                kill_and_resume(folder, min(count, KILLED), address)


def save_phantoms(path: Path, count: int, size: int) -> None:
    """(count, size, size) uint8: `DRAWN` phantoms in turn, each time with other noise."""
    generator = np.random.default_rng(0)
    drawn = make_phantoms((DRAWN // 2, DRAWN // 2), size, 0, "train").images
    with path.open("wb") as file:
        file.write(npy_header(np.dtype(np.uint8), (count, size, size)))
        for start in range(0, count, BLOCK):
            rows = np.arange(start, min(start + BLOCK, count)) % DRAWN
            # Cheaper than noise of its own for each pixel: a shift and a gain of its own for each image.
            shift = generator.integers(0, 30, (len(rows), 1, 1), dtype=np.uint8)
            noise = generator.integers(0, 8, (1, size, size), dtype=np.uint8)
            file.write((drawn[rows] // 2 + shift + noise).tobytes())


def race(
    folder: Path, count: int, address: str, workers: Callable[[], dict[str, list[psutil.Process]]]
) -> None:
    """All ways, in turns. workers: of each node of the cluster. Prints a table."""
    runners = {name: Runner(name, folder, address) for name in ways.WAYS}
    for runner in runners.values():
        runner.nodes = workers if runner.name == ways.RAY else runner.own
    while running := [runner for runner in runners.values() if not runner.ended]:
        for runner in running:
            runner.turn()
    digests = {sha256(runner.output) for runner in runners.values() if runner.threads == 1}
    rates = {name: count / runner.seconds for name, runner in runners.items()}
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for name, runner in runners.items():
        anonymous, resident = (peak / 1e6 for peak in runner.peaks)
        spent = 1000 * sum(runner.spent.values()) / count
        ratio = rates[name] / rates[ways.ONE]
        print(
            f"| {name} | {rates[name]:.0f} | {ratio:.2f} | {spent:.2f} | {anonymous:.0f} | {resident:.0f} |"
        )
    same = "equal" if len(digests) == 1 else "DIFFERENT"
    print(f"bytes of two processes and of the cluster: {same}", flush=True)


class Runner:
    """One way: a process, its time, and what it and its workers use.

    seconds: of its turns. spent: CPU seconds by process id. peaks: bytes, see `HEAD`.
    """

    def __init__(self, name: str, folder: Path, address: str) -> None:
        self.name, self.home, self.threads = name, folder / name.replace(" ", "_"), ways.WAYS[name]
        self.output = self.home / ways.OUTPUT
        self.home.mkdir()
        self.environment = os.environ | {"CXR_MIRROR": str(folder / "mirror"), "PYTHONPATH": str(Path.cwd())}
        if name == ways.RAY:
            self.environment["RAY_ADDRESS"] = address
        self.command = [sys.executable, "-m", "benchmarks.embeddings_ways", name, str(folder / ways.IMAGES)]
        self.process: psutil.Popen | None = None
        self.ended, self.seconds = False, 0.0
        self.spent: dict[int, float] = defaultdict(float)
        self.peaks = [0.0, 0.0]
        self.nodes: Callable[[], dict[str, list[psutil.Process]]] = self.own

    def own(self) -> dict[str, list[psutil.Process]]:
        assert self.process
        return {"this": [self.process, *self.process.children(recursive=True)]}

    def start(self) -> psutil.Popen:
        log = (self.home / "log").open("w")
        return psutil.Popen(
            self.command, cwd=self.home, env=self.environment, stdout=log, stderr=subprocess.STDOUT
        )

    def turn(self) -> None:
        """Raises `UserError` if the process ends with an error."""
        start = time.monotonic()
        self.process = self.process or self.start()
        self.signal(signal.SIGCONT)
        while time.monotonic() - start < TURN and not self.ended:
            self.measure()
            try:
                code = self.process.wait(0.5)
            except psutil.TimeoutExpired:
                continue
            if code:
                raise UserError(f"{self.name}: {(self.home / 'log').read_text()[-2000:]}")
            self.ended = True
        self.seconds += time.monotonic() - start
        if self.ended:
            print(f"{self.name}: {self.seconds:.0f} s", file=sys.stderr, flush=True)
        else:
            self.signal(signal.SIGSTOP)

    def signal(self, number: signal.Signals) -> None:
        """To the process and its workers, not to the cluster's own processes."""
        assert self.process
        for process in [self.process, *(each for found in self.nodes().values() for each in found)]:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def measure(self) -> None:
        assert self.process
        self.used([self.process])
        for processes in self.nodes().values():
            self.peaks = [max(pair) for pair in zip(self.peaks, self.used(processes), strict=True)]

    def used(self, processes: list[psutil.Process]) -> list[float]:
        """The sums of `peaks` now; keeps the CPU seconds."""
        sums = [0.0, 0.0]
        for process in processes:
            try:
                times = process.cpu_times()
                memory = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            except (psutil.Error, OSError):  # it has ended
                continue
            self.spent[process.pid] = times.user + times.system
            for place, field in enumerate(("Anonymous:", "Rss:")):
                sums[place] += 1024 * int(memory.partition(field)[2].split()[0])
        return sums


def kill_and_resume(folder: Path, count: int, address: str) -> None:
    """Of the first `count` images, whose embeddings are known."""
    expected = np.load(folder / ways.RAY / ways.OUTPUT, mmap_mode="r")[:count].tobytes()
    shutil.rmtree(folder / ways.RAY)
    few = np.load(folder / ways.IMAGES, mmap_mode="r")[:count]
    write_npy_rows(folder / ways.IMAGES, few, np.arange(count))
    runner = Runner(ways.RAY, folder, address)
    process, pattern, shards = runner.start(), f"{FOLDER}/*/shard_*.npy", -(-count // ways.SHARD)
    while len(list(runner.home.glob(pattern))) < shards // 3:
        if process.poll() is not None:
            raise UserError(f"ended before it could be killed: {(runner.home / 'log').read_text()[-2000:]}")
        time.sleep(0.2)
    process.kill()
    process.wait()
    time.sleep(10)  # Ray ends the actors of a driver that is gone
    kept = len(list(runner.home.glob(pattern)))
    runner.start().wait()
    equal = "equal" if np.load(runner.output).tobytes() == expected else "DIFFERENT"
    said = (runner.home / "log").read_text().splitlines()[0]
    print(f"driver killed with {kept} of {shards} shards done; started again: {said}; bytes {equal}")


if __name__ == "__main__":
    run(main)
