"""How much of the machine the training loop uses: images per second, all ways in one run.

    python -m benchmarks.training

ours     cxr.training.fit: uint8 films on the device, all augmentations on, mixed bfloat16, channels-last
limit    the same network, optimiser, schedule and precision on ready-made float batches: no data work at all
common   the usual way: PIL transforms of torchvision in a DataLoader with two workers, float32
compiled the limit with torch.compile

Each way runs in turn, ROUNDS times, and the medians over the rounds are compared: on a shared machine the
speed of one run says little, the ratio of neighbouring runs much more. Films are seeded noise of 28 pixels:
their content changes no speed, so the benchmark needs no data set.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cxr.models.compact_cnn import CompactCNN
from cxr.params import load
from cxr.preprocess import Normalisation
from cxr.training import autocast, fit

FILMS = 4096
ROUNDS = 5
NORMALISE = Normalisation(0.57, 0.17)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    threads = parser.parse_args().threads
    torch.set_num_threads(threads)
    params = load()
    settings = replace(params.train, epochs=1)
    # The default recipe leaves noise and erasing off; here every augmentation has to be paid for.
    augmentation = replace(params.augment, noise=0.05, erasing=0.3)
    generator = np.random.default_rng(0)
    films = generator.integers(0, 256, (FILMS, 28, 28), dtype=np.uint8)
    labels = generator.integers(0, 2, FILMS)
    images, targets = torch.from_numpy(films), torch.from_numpy(labels)

    def ours() -> None:
        for _ in fit(network(), images, targets, torch.ones(2), NORMALISE, settings, augmentation, 0):
            pass

    resident = NORMALISE(images.unsqueeze(1).float() / 255).contiguous(memory_format=torch.channels_last)
    batches = list(zip(resident.split(settings.batch_size), targets.split(settings.batch_size), strict=True))

    def limit() -> None:
        step_through(network(), batches, settings.lr, settings.precision)

    loader = DataLoader(
        PictureSet(films, labels),
        settings.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=2,
        persistent_workers=True,
    )

    def common() -> None:
        step_through(CompactCNN(2, 0.3), loader, settings.lr, "float32")

    compiled_network = torch.compile(network())

    def compiled() -> None:
        step_through(compiled_network, batches, settings.lr, settings.precision)

    ways: dict[str, Callable[[], None]] = {
        "ours": ours,
        "limit": limit,
        "common": common,
        "compiled": compiled,
    }
    for way in ways.values():
        way()  # warms up: kernels chosen, workers started, graph compiled
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            speeds[name].append(FILMS / (time.perf_counter() - start))
        print(f"round {number}: " + ", ".join(f"{name} {speed[-1]:.0f}/s" for name, speed in speeds.items()))
    median = {name: statistics.median(speed) for name, speed in speeds.items()}
    print(f"\ntorch {torch.__version__}, {threads} threads, {FILMS:,} films a round, medians of {ROUNDS}")
    for name, speed in median.items():
        print(f"{name:9} {speed:7.0f} images/s")
    print(f"ours / limit   {ratio(speeds, 'ours', 'limit'):.3f}")
    print(f"ours / common  {ratio(speeds, 'ours', 'common'):.2f}")
    print(f"compiled / limit {ratio(speeds, 'compiled', 'limit'):.2f}")


def network() -> CompactCNN:
    return CompactCNN(2, 0.3).to(memory_format=torch.channels_last)


def ratio(speeds: dict[str, list[float]], first: str, second: str) -> float:
    """The median over rounds of the ratio within a round, so that a slow spell of the machine cancels out."""
    return statistics.median(a / b for a, b in zip(speeds[first], speeds[second], strict=True))


def step_through(model: nn.Module, batches: list | DataLoader, lr: float, precision: str) -> None:
    """One epoch of AdamW, one-cycle schedule and weighted, smoothed cross-entropy on ready batches."""
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


class PictureSet(Dataset[tuple[Tensor, int]]):
    """A data set as tutorials write it: one PIL picture at a time through torchvision transforms."""

    def __init__(self, films: np.ndarray, labels: np.ndarray) -> None:
        self.films, self.labels = films, labels
        self.transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomAffine(10, translate=(0.06, 0.06), scale=(0.9, 1.1)),
                transforms.ColorJitter(brightness=0.2, contrast=0.2),
                transforms.ToTensor(),
                transforms.Normalize([NORMALISE.mean], [NORMALISE.std]),
                transforms.RandomErasing(p=1.0, scale=(0.0, 0.05)),
            ]
        )

    def __len__(self) -> int:
        return len(self.films)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.films[row])), int(self.labels[row])


if __name__ == "__main__":
    main()
