"""What `train.processes` costs: one process with two threads, against two processes with one thread each.

    python -m benchmarks.training_distributed
    python -m benchmarks.training_distributed --backbone timm:vit_small_patch16_224 --batch 8

One epoch of random radiographs of 28 pixels with the augmentation of params.yaml, in float32. Seconds are of
the fastest batch but the first, which allocates; CPU seconds, those of one process, depend less on what else
the machine does. `input` is the augmentation of the whole batch, which every process does; `all-reduce` the
sum over processes of as many float32 as the network has parameters, alone, while training overlaps it with
the backward pass. Memory is the highest resident size of one process.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from tqdm import tqdm

from cxr.core.engine import Tick, all_at_once
from cxr.models.backbones import build_backbone
from cxr.models.network import Network
from cxr.models.preprocess import Preprocess
from cxr.params import load_params
from cxr.training.distributed import process_group
from cxr.training.inputs import AugmentedImages
from cxr.training.loop import Phase
from cxr.training.share import ALONE, Share
from cxr.training.targets import Targets

SIZE, STORED = 224, 28
LAYOUTS = ((1, 2), (2, 1))  # processes, threads of each


@dataclass(frozen=True)
class Measured:
    parameters: int
    step: float
    processor: float
    input: float
    all_reduce: float
    memory: int


@dataclass(frozen=True)
class Epoch:
    """One epoch of `steps` batches, in one of `count` processes."""

    backbone: str
    batch: int
    steps: int
    count: int
    meeting: str

    def __call__(self, rank: int, tick: Tick) -> Measured:
        if self.count == 1:
            return self.measured(ALONE)
        share = Share(rank, self.count)
        with process_group(self.meeting, share, torch.device("cpu")):
            return self.measured(share)

    def measured(self, share: Share) -> Measured:
        params = load_params()
        torch.manual_seed(0)
        backbone = build_backbone(
            self.backbone, weights="none", weights_sha256="none", size=SIZE, stored_size=STORED
        )
        network = Network(backbone.base, backbone.dimensions, 2, 0.0).to(memory_format=torch.channels_last)
        count = self.batch * self.steps
        radiographs = np.random.default_rng(0).integers(0, 256, (count, STORED, STORED), dtype=np.uint8)
        preprocess = Preprocess(SIZE, (0.5,) * backbone.input.channels, (0.5,) * backbone.input.channels)
        inputs = AugmentedImages(torch.from_numpy(radiographs), params.augment, preprocess)
        targets = Targets(
            ["normal", "pneumonia"],
            np.arange(2),
            np.arange(count) % 2,
            np.ones(2, np.float32),
            np.zeros(2, np.float32),
        )
        settings = params.train.replace(batch_size=self.batch, epochs=1)
        phase = Phase(network, inputs, targets, settings, "float32", 0, share)
        ends: list[tuple[float, float]] = []
        phase.optimiser.register_step_post_hook(
            lambda *_: ends.append((time.perf_counter(), time.process_time()))
        )
        phase.epoch()
        parameters = sum(weight.numel() for weight in network.parameters())
        gradients = torch.zeros(parameters)
        rows = torch.arange(self.batch)
        return Measured(
            parameters,
            *np.diff(ends, axis=0).min(axis=0).tolist(),
            min(_seconds(lambda: inputs(rows, phase.generator)) for _ in range(3)),
            min(_seconds(lambda: dist.all_reduce(gradients)) for _ in range(5)) if share.count > 1 else 0.0,
            _peak_memory(),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="timm:vit_tiny_patch16_224")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8, help="batches of the epoch")
    arguments = parser.parse_args()
    compute = load_params().compute.replace(device="cpu")
    print(f"{arguments.backbone}, {SIZE} pixels, batches of {arguments.batch}, torch {torch.__version__}")
    for count, threads in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder, tqdm(disable=True) as bar:
            meeting = f"file://{Path(folder, 'store')}"
            epoch = Epoch(arguments.backbone, arguments.batch, arguments.steps, count, meeting)
            results = all_at_once(epoch, count, compute.replace(threads=threads), bar)
        first = results[0]
        rate = arguments.batch / first.step
        line = f"{first.step:.3f} s a batch, {rate:.1f} images/s, input {first.input:.3f} s"
        line += f", {first.processor:.3f} CPU s a process"
        memory = max(result.memory for result in results) / 2**20
        print(f"{count} x {threads} threads: {line}, {memory:,.0f} MiB a process")
    volume = 4 * first.parameters * 2 * (count - 1) / count
    rate = volume / first.all_reduce / 1e6
    print(f"all-reduce of {first.parameters:,} parameters: {first.all_reduce:.3f} s, each process sends")
    print(f"{volume / 1e6:,.1f} MB of gradients, {rate:,.0f} MB/s over loopback")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _peak_memory() -> int:
    """Bytes. Not by `resource`, which counts what the process was before it became this program."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
