"""The cost of training a head on a frozen Inception-V3: features computed once, compared with the usual way.

    python -m benchmarks.training_frozen

plain  in every epoch train and val pass through the base in float32, in batches of 16 PIL images from a
       DataLoader with two workers, as published
ours   cxr.training.inputs: augment.views augmented copies of train, and once each val and the training
       radiographs of the learning curve, pass through the base once, with whole-batch augmentation, mixed
       bfloat16 and channels-last; then the head trains on the features

Both are measured on IMAGES radiographs of 299 pixels, with random weights, which cost as much as trained
ones, and extrapolated to the recipe's epochs on PneumoniaMNIST. The training of the head is measured in full.
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
from cxr.training.freezing import HeadOnly, freeze
from cxr.training.inputs import AugmentedFeatures, augmented_features, unaugmented_features
from cxr.training.loop import Phase
from cxr.training.targets import Subclasses, make_targets

IMAGES = 96
ROUNDS = 3
TRAIN, VAL = 4708, 524  # radiographs of PneumoniaMNIST
SIZE = 299


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = load_params()
    changes = recipe_values("inception_frozen")
    epochs, copies, batch = changes["train.epochs"], changes["augment.views"], changes["train.batch_size"]
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
    loader = DataLoader(PilImages(radiographs), batch, num_workers=2, persistent_workers=True)

    def plain() -> None:
        network.to(memory_format=torch.contiguous_format).eval()
        with torch.no_grad():
            for x in loader:
                network.features(x)

    def augmented() -> None:
        network.to(memory_format=torch.channels_last)
        augmented_features(network, images, augmentation, preprocess, "bf16", seed=0)

    def unaugmented() -> None:
        network.to(memory_format=torch.channels_last)
        unaugmented_features(network, images, preprocess, "bf16")

    methods = {"plain": plain, "augmented": augmented, "unaugmented": unaugmented}
    best = dict.fromkeys(methods, float("inf"))
    for method in methods.values():
        method()
    for _ in range(ROUNDS):
        for name, method in methods.items():
            start = time.perf_counter()
            method()
            best[name] = min(best[name], (time.perf_counter() - start) / IMAGES)

    labels = np.arange(TRAIN) % 2
    targets = make_targets(params.imbalance, labels, ["normal", "pneumonia"], Subclasses.named([""] * TRAIN))
    settings = params.train.replace(epochs=epochs, batch_size=batch, optimiser="adam", schedule="plateau")
    features = AugmentedFeatures(torch.randn(copies, TRAIN, backbone.dimensions))
    phase = Phase(HeadOnly(network), features, targets, settings, "bf16", seed=0)
    start = time.perf_counter()
    for _ in range(epochs):
        phase.epoch()
    head = time.perf_counter() - start

    for name, seconds in best.items():
        print(f"{name:11} {1000 * seconds:7.1f} ms a radiograph")
    plain_total = epochs * (TRAIN + VAL) * best["plain"]
    ours_total = copies * TRAIN * best["augmented"] + 2 * VAL * best["unaugmented"] + head
    print(f"head        {head:7.1f} s for {epochs} epochs on {TRAIN:,} radiographs, measured")
    print(f"torch {torch.__version__}, {params.compute.threads} threads")
    print(f"{TRAIN:,} + {VAL} radiographs, {epochs} epochs:")
    print(f"plain {plain_total / 60:.1f} min without the head, ours {ours_total / 60:.1f} min with it")
    print(f"ours / plain 1/{plain_total / ours_total:.1f}")


class PilImages(Dataset[torch.Tensor]):
    """A data set as in tutorials: torchvision transforms of one PIL image at a time."""

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
