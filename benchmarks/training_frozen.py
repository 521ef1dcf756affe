"""What training a head on a frozen Inception-V3 costs: features computed once, against the plain way.

    python -m benchmarks.training_frozen

plain  every epoch sends train and val through the base in float32, a batch of 16 PIL pictures at a time from
       a DataLoader with two workers, as published
ours   cxr.training.freezing: the recipe's augment.views variants of train, val and the training radiographs of the
       learning curve once through the base, whole-batch augmentation, mixed bfloat16, channels-last; then
       the head trains on features

Both are measured on IMAGES radiographs and 299 pixels, with random weights, which cost as much as trained
ones, and extrapolated to the recipe's epochs on PneumoniaMNIST. The head's own training is measured at full
size.
"""

import argparse
import time

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cxr.models.backbones import build_backbone
from cxr.models.network import Network
from cxr.models.preprocess import Preprocess
from cxr.params import load_params
from cxr.recipes import recipe_values
from cxr.training.freezing import Features, HeadOnly, augmented_features, clean_features, freeze
from cxr.training.loop import Phase
from cxr.training.targets import make_targets

IMAGES = 96
ROUNDS = 3
TRAIN, VAL = 4708, 524  # radiographs of PneumoniaMNIST
SIZE = 299


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = load_params()
    changes = recipe_values("inception_frozen")
    epochs, views, batch = changes["train.epochs"], changes["augment.views"], changes["train.batch_size"]
    torch.set_num_threads(params.compute.threads)
    backbone = build_backbone(
        "inception_v3", weights="none", weights_sha256="none", size=SIZE, stored_size=28
    )
    network = Network(backbone.base, backbone.dimensions, 2, 0.5, changes["model.hidden"])
    freeze(network, "head")
    radiographs = np.random.default_rng(0).integers(0, 256, (IMAGES, 28, 28), dtype=np.uint8)
    images = torch.from_numpy(radiographs)
    preprocess = Preprocess(SIZE, (0.5,) * 3, (0.5,) * 3)
    augmentation = params.augment.replace(views=1)
    loader = DataLoader(Pictures(radiographs), batch, num_workers=2, persistent_workers=True)

    def plain() -> None:
        network.to(memory_format=torch.contiguous_format).eval()
        with torch.no_grad():
            for x in loader:
                network.features(x)

    def once() -> None:
        network.to(memory_format=torch.channels_last)
        augmented_features(network, images, augmentation, preprocess, "bf16", seed=0)

    def clean() -> None:
        network.to(memory_format=torch.channels_last)
        clean_features(network, images, preprocess, "bf16")

    methods = {"plain": plain, "augmented": once, "clean": clean}
    best = dict.fromkeys(methods, float("inf"))
    for way in methods.values():
        way()
    for _ in range(ROUNDS):
        for name, way in methods.items():
            start = time.perf_counter()
            way()
            best[name] = min(best[name], (time.perf_counter() - start) / IMAGES)

    labels = np.arange(TRAIN) % 2
    targets = make_targets(params.imbalance, labels, ["normal", "pneumonia"], [""] * TRAIN)
    settings = params.train.replace(epochs=epochs, batch_size=batch, optimiser="adam", schedule="plateau")
    features = Features(torch.randn(views, TRAIN, backbone.dimensions))
    training = Phase(HeadOnly(network), features, targets, settings, settings, seed=0)
    start = time.perf_counter()
    for _ in range(epochs):
        training.epoch()
    head = time.perf_counter() - start

    for name, seconds in best.items():
        print(f"{name:10} {1000 * seconds:7.1f} ms a radiograph")
    plain_total = epochs * (TRAIN + VAL) * best["plain"]
    ours_total = views * TRAIN * best["augmented"] + 2 * VAL * best["clean"] + head
    print(f"head       {head:7.1f} s for {epochs} epochs on {TRAIN:,} radiographs, measured")
    print(f"torch {torch.__version__}, {params.compute.threads} threads")
    print(f"{TRAIN:,} + {VAL} radiographs, {epochs} epochs:")
    print(f"plain {plain_total / 60:.1f} min without the head, ours {ours_total / 60:.1f} min with it")
    print(f"ours / plain 1/{plain_total / ours_total:.1f}")


class Pictures(Dataset[torch.Tensor]):
    """A data set as tutorials write it: one PIL picture at a time through torchvision transforms."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images
        self.transform = transforms.Compose(
            [
                transforms.Resize((SIZE, SIZE)),
                transforms.Grayscale(3),
                transforms.RandomHorizontalFlip(),
                transforms.RandomRotation(15),
                transforms.ColorJitter(brightness=0.1, contrast=0.1),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.transform(Image.fromarray(self.images[row]))


if __name__ == "__main__":
    main()
