"""Training a head on a frozen base: the base sees each film a few times, not once in every epoch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from cxr.augment import augment
from cxr.models.network import Network
from cxr.params import Augment
from cxr.preprocess import Preprocess, to_grey

BATCH = 64


@dataclass(frozen=True)
class Features:
    """views: (V, N, d) float32 features of V variants of each of N films, on the device."""

    views: Tensor

    @property
    def device(self) -> torch.device:
        return self.views.device

    def __len__(self) -> int:
        return self.views.shape[1]

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """(len(rows), d): of each film one of its views, drawn anew."""
        views = len(self.views)
        drawn = torch.randint(views, (len(rows),), generator=generator, device=self.device)
        return self.views[drawn, rows]


class HeadOnly(nn.Module):
    """The part of a network behind its base, which it shares: training it trains the network's head."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.dropout, self.head = network.dropout, network.head

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.dropout(features))


def augmented_features(
    network: Network,
    images: Tensor,
    augmentation: Augment,
    preprocess: Preprocess,
    precision: str,
    seed: int,
) -> Features:
    """Features of `augmentation.views` variants of each film. images: (N, H, W) uint8 on the device."""
    generator = torch.Generator(images.device).manual_seed(seed)
    found = []
    for view in range(augmentation.views):
        with tqdm(total=len(images), desc=f"frozen features, view {view + 1}", disable=None) as bar:
            parts = []
            for films in images.split(BATCH):
                grey = augment(to_grey(films), augmentation, generator)
                parts.append(features(network, preprocess(grey), precision))
                bar.update(len(films))
        found.append(torch.cat(parts))
    return Features(torch.stack(found))


def clean_features(network: Network, images: Tensor, preprocess: Preprocess, precision: str) -> Tensor:
    """(N, d) float32 of films as they are. images: (N, H, W) uint8 on the device."""
    parts = [features(network, preprocess(to_grey(films)), precision) for films in images.split(BATCH)]
    return torch.cat(parts)


@torch.no_grad()  # not inference_mode, whose tensors cannot be trained on
def features(network: Network, x: Tensor, precision: str) -> Tensor:
    """(N, d) float32. x: a network's input. precision: bf16 (autocast) or float32."""
    network.eval()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return network.features(x).float()
