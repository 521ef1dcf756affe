"""The inputs of a phase: augmented anew in every epoch to train on, unaugmented for the learning curve.

With a frozen base the inputs are its features: the base computes them once for a few augmented copies of each
image, not in every epoch; with `augment.views` 0 it computes them anew in every epoch, as without a frozen
base.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from cxr.core.device import Precision, autocast
from cxr.models.classifier import batch_size
from cxr.models.network import Network
from cxr.models.preprocess import Preprocess, to_grey
from cxr.params import Augment
from cxr.training.augment import augment
from cxr.training.share import ALONE, Share

FEATURE_BATCH = 64  # images that the frozen base takes at a time


class Inputs(Protocol):
    """Training inputs of N images on the device; a call returns those of the images `rows`."""

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class AugmentedImages:
    """images: (N, H, W) uint8 on the device. Each call augments anew and returns a network's input."""

    images: Tensor
    augmentation: Augment
    preprocess: Preprocess

    @property
    def device(self) -> torch.device:
        return self.images.device

    def __len__(self) -> int:
        return len(self.images)

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        return augmented_input(self.images[rows], self.augmentation, self.preprocess, generator)


def augmented_input(
    images: Tensor, augmentation: Augment, preprocess: Preprocess, generator: torch.Generator
) -> Tensor:
    """The input of a network from randomly augmented copies of images, (N, H, W) uint8, which are made at the
    stored size or, with `augmentation.resolution` input, after resizing."""
    grey = to_grey(images)
    if augmentation.resolution == "input":
        grey = preprocess.resize(grey)
    return preprocess(augment(grey, augmentation, generator))


@dataclass(frozen=True)
class UnaugmentedImages:
    """images: (N, H, W) uint8 on the device. Iterates over batches of a network's input, in order."""

    images: Tensor
    preprocess: Preprocess

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self.images.split(batch_size(self.preprocess.size)):
            yield self.preprocess(to_grey(batch))


@dataclass(frozen=True)
class AugmentedFeatures:
    """copies: (V, N, d) float32 features of V augmented copies of each of N images, on the device."""

    copies: Tensor

    @property
    def device(self) -> torch.device:
        return self.copies.device

    def __len__(self) -> int:
        return self.copies.shape[1]

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """(len(rows), d): for each image the features of one of its copies, drawn anew."""
        drawn = torch.randint(len(self.copies), (len(rows),), generator=generator, device=self.device)
        return self.copies[drawn, rows]


def augmented_features(
    network: Network,
    images: Tensor,
    augmentation: Augment,
    preprocess: Preprocess,
    precision: Precision,
    seed: int,
    share: Share = ALONE,
) -> AugmentedFeatures:
    """Features of `augmentation.views` augmented copies of each image.

    images: (N, H, W) uint8 on the device.
    """
    generator = torch.Generator(images.device).manual_seed(seed)
    copies = []
    for number in range(1, augmentation.views + 1):
        quiet = None if share.first else True
        with tqdm(total=len(images), desc=f"frozen features, copy {number}", disable=quiet) as bar:

            def compute(x: Tensor, bar: tqdm = bar) -> Tensor:
                bar.update(len(x))
                return _features(network, x, precision)

            batches = images.split(FEATURE_BATCH)
            inputs = (augmented_input(batch, augmentation, preprocess, generator) for batch in batches)
            copies.append(share.each(inputs, compute).to(images.device))
    return AugmentedFeatures(torch.stack(copies))


def unaugmented_features(
    network: Network, images: Tensor, preprocess: Preprocess, precision: Precision, share: Share = ALONE
) -> Tensor:
    """(N, d) float32. images: (N, H, W) uint8 on the device."""

    def compute(batch: Tensor) -> Tensor:
        return _features(network, preprocess(to_grey(batch)), precision)

    return share.each(images.split(FEATURE_BATCH), compute).to(images.device)


@torch.no_grad()  # not inference_mode, whose tensors cannot be trained on
def _features(network: Network, x: Tensor, precision: Precision) -> Tensor:
    """(N, d) float32. x: a network's input."""
    network.eval()
    with autocast(x.device, precision):
        return network.features(x).float()
