"""The speed of the training loop in images per second, compared with other methods in one run.

    python -m benchmarks.training_speed [--backbone resnet18_28 --images 512]

ours     cxr.training.loop: uint8 radiographs on the device, all augmentations, mixed bfloat16, channels-last
plain    the same loop in float32 with the default memory layout (for the difference in accuracy see
benchmarks/training_precision.py) limit    the same network, optimiser, schedule and precision on prepared
float batches, without any data loading compiled the limit with torch.compile common   the usual method: PIL
transforms of torchvision in a DataLoader with two workers, float32

The first four run as in the train stage, `compute.workers` members in parallel with one thread each; common
is one training with as many threads. A speed is that of the whole machine: radiographs of all members per
second. The methods run in turn, ROUNDS times, and the medians over the rounds are compared: on a shared
machine the speed of one run is unreliable, the ratio of successive runs less so. Radiographs are seeded noise
of 28 pixels: their content does not change the speed, so that the benchmark needs no data set.

ResNet-18 (`--backbone resnet18_28 --images 256`) on two cores with AVX512-BF16: ours 2.19 times plain.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from threading import Barrier

# Before PyTorch is imported, as in the stages: threads that wait must not take the core from others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cxr.core.device import Precision, autocast
from cxr.core.processes import worker_count
from cxr.models.backbones import build_backbone
from cxr.models.network import Network
from cxr.models.preprocess import Preprocess, to_grey
from cxr.params import Params, load_params
from cxr.training.inputs import AugmentedImages
from cxr.training.loop import Phase
from cxr.training.targets import Subclasses, make_targets

ROUNDS = 5
PREPROCESS = Preprocess(28, (0.57,), (0.17,))
SIDE_BY_SIDE = ("ours", "plain", "limit", "compiled")


@dataclass(frozen=True)
class Case:
    """images: the number trained on in one round."""

    backbone: str
    images: int


_together: Barrier  # in a worker process: all of them start a method at the same time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="compact_cnn")
    parser.add_argument("--images", type=int, default=4096, help="in one round")
    case = Case(**vars(parser.parse_args()))
    params = load_params()
    workers = worker_count(params.compute)
    torch.set_num_threads(workers)
    context = multiprocessing.get_context("spawn")
    speeds: dict[str, list[float]] = {name: [] for name in (*SIDE_BY_SIDE, "common")}
    with ProcessPoolExecutor(workers, context, start_worker, (context.Barrier(workers),)) as pool:
        for number in range(-1, ROUNDS):  # the first round warms up: kernels chosen, graph compiled
            for name, speed in speeds.items():
                if name in SIDE_BY_SIDE:
                    futures = [pool.submit(run, case, name) for _ in range(workers)]
                    seconds = max(future.result() for future in futures)
                    result = workers * case.images / seconds
                else:
                    result = case.images / run_common(case)
                if number >= 0:
                    speed.append(result)
            if number >= 0:
                print(f"round {number}: " + ", ".join(f"{name} {s[-1]:.0f}/s" for name, s in speeds.items()))
    print(f"\n{case.backbone}, torch {torch.__version__}, {workers} cores, medians of {ROUNDS} rounds")
    for name, speed in speeds.items():
        print(f"{name:9} {statistics.median(speed):7.0f} images/s")
    print(f"ours / limit     {ratio(speeds, 'ours', 'limit'):.3f}")
    print(f"ours / plain     {ratio(speeds, 'ours', 'plain'):.2f}")
    print(f"ours / common    {ratio(speeds, 'ours', 'common'):.2f}")
    print(f"compiled / limit {ratio(speeds, 'compiled', 'limit'):.2f}")


def start_worker(together: Barrier) -> None:
    global _together
    _together = together
    torch.set_num_threads(1)


def run(case: Case, name: str) -> float:
    """Seconds for one epoch, in step with the other workers."""
    method = methods(case)[name]
    _together.wait()
    start = time.perf_counter()
    method()
    return time.perf_counter() - start


def images_and_labels(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return images, generator.integers(0, 2, count)


def settings() -> Params:
    params = load_params()
    # The default recipe has no noise and no erasing; here the cost of every augmentation counts.
    every = params.augment.replace(noise=0.05, erasing=0.3)
    return params.replace(train=params.train.replace(epochs=1), augment=every)


@cache
def methods(case: Case) -> dict[str, Callable[[], None]]:
    params = settings()
    images, labels = (torch.from_numpy(array) for array in images_and_labels(case.images))
    targets = make_targets(
        params.imbalance, labels.numpy(), ["normal", "pneumonia"], Subclasses.named([""] * case.images)
    )
    inputs = AugmentedImages(images, params.augment, PREPROCESS)

    def loop(precision: Precision, channels_last: bool) -> None:
        Phase(network(case, channels_last), inputs, targets, params.train, precision, seed=0).epoch()

    size = params.train.batch_size
    batches = list(zip(PREPROCESS(to_grey(images)).split(size), labels.split(size), strict=True))

    def limit() -> None:
        step_through(network(case), batches, params.train.lr, "bf16")

    compiled_network = network(case)
    compiled_network.compile()

    def compiled() -> None:
        step_through(compiled_network, batches, params.train.lr, "bf16")

    return {
        "ours": lambda: loop("bf16", channels_last=True),
        "plain": lambda: loop("float32", channels_last=False),
        "limit": limit,
        "compiled": compiled,
    }


@cache
def common_loader(case: Case) -> DataLoader:
    return DataLoader(
        PilImages(*images_and_labels(case.images)),
        settings().train.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=2,
        persistent_workers=True,
    )


def run_common(case: Case) -> float:
    start = time.perf_counter()
    step_through(network(case, channels_last=False), common_loader(case), settings().train.lr, "float32")
    return time.perf_counter() - start


def network(case: Case, channels_last: bool = True) -> Network:
    built = build_backbone(case.backbone, weights="none", weights_sha256="none", size=None, stored_size=28)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return Network(built.base, built.dimensions, 2, dropout=0.3).to(memory_format=layout)


def ratio(speeds: dict[str, list[float]], first: str, second: str) -> float:
    """The median over rounds of the ratio within a round, so that a slow period of the machine cancels
    out."""
    return statistics.median(a / b for a, b in zip(speeds[first], speeds[second], strict=True))


def step_through(model: nn.Module, batches: list | DataLoader, lr: float, precision: Precision) -> None:
    """One epoch of AdamW, one-cycle schedule and weighted, smoothed cross-entropy on the given batches."""
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=len(batches))
    weights = torch.ones(2)
    for x, y in batches:
        with autocast(torch.device("cpu"), precision):
            logits = model(x)
        loss = F.cross_entropy(logits.float(), y, weights, label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


class PilImages(Dataset[tuple[Tensor, int]]):
    """A data set as in tutorials: torchvision transforms of one PIL image at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomAffine(10, translate=(0.06, 0.06), scale=(0.9, 1.1)),
                transforms.ColorJitter(brightness=0.2, contrast=0.2),
                transforms.ToTensor(),
                transforms.Normalize(PREPROCESS.mean, PREPROCESS.std),
                transforms.RandomErasing(p=1.0, scale=(0.0, 0.05)),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[row])), int(self.labels[row])


if __name__ == "__main__":
    main()
