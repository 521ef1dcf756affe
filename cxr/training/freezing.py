"""What trains and what is frozen, and how a head is trained on a frozen base: the base sees each image a few
times, not once in every epoch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from cxr.core.errors import UserError
from cxr.models.network import Network
from cxr.models.preprocess import Preprocess, to_grey
from cxr.params import Augment
from cxr.training.augment import augment

BATCH = 64


def freeze(network: Network, trainable: str | list[str], key: str = "train.trainable") -> None:
    """trainable: "all", "head", or modules of the base such as `features.6` and `layer4`, with all they hold.
    The head always trains, and may stand in the list. Nothing that was frozen before stays so by itself.

    key: of params.yaml, which said so. Raises `UserError` if the base has no such module with weights.
    """
    base = network.base
    parts = [] if isinstance(trainable, str) else [part for part in trainable if part != "head"]
    known = [name for name, module in base.named_modules() if name and list(module.parameters())]
    for part in parts:
        if part not in known:
            raise UserError(_unknown(part, known, key))
    network.requires_grad_(True)
    if trainable == "all":
        return
    base.requires_grad_(False)
    for part in parts:
        base.get_submodule(part).requires_grad_(True)


def train_mode(network: nn.Module) -> None:
    """Training mode, but for every module all of whose weights are frozen: there batch normalisation keeps
    its statistics, and dropout and stochastic depth let everything through."""
    network.train()
    for module in network.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def _unknown(part: str, known: list[str], key: str) -> str:
    """`features.9` is answered with what `features` holds, `layer9` with what stands at the top."""
    parent = part
    while parent and parent not in known:
        parent = parent.rpartition(".")[0]
    near = [name for name in known if name.rpartition(".")[0] == parent]
    return (
        f"params.yaml: {key} names {part}, but the backbone has no such module with weights; "
        f"choose from {', '.join([*near, 'head'])}"
    )


@dataclass(frozen=True)
class Features:
    """views: (V, N, d) float32 features of V variants of each of N images, on the device."""

    views: Tensor

    @property
    def device(self) -> torch.device:
        return self.views.device

    def __len__(self) -> int:
        return self.views.shape[1]

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """(len(rows), d): of each image one of its views, drawn anew."""
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
    """Features of `augmentation.views` variants of each image. images: (N, H, W) uint8 on the device."""
    generator = torch.Generator(images.device).manual_seed(seed)
    found = []
    for view in range(augmentation.views):
        with tqdm(total=len(images), desc=f"frozen features, view {view + 1}", disable=None) as bar:
            parts = []
            for radiographs in images.split(BATCH):
                grey = augment(to_grey(radiographs), augmentation, generator)
                parts.append(features(network, preprocess(grey), precision))
                bar.update(len(radiographs))
        found.append(torch.cat(parts))
    return Features(torch.stack(found))


def clean_features(network: Network, images: Tensor, preprocess: Preprocess, precision: str) -> Tensor:
    """(N, d) float32 of images as they are. images: (N, H, W) uint8 on the device."""
    parts = [
        features(network, preprocess(to_grey(radiographs)), precision) for radiographs in images.split(BATCH)
    ]
    return torch.cat(parts)


@torch.no_grad()  # not inference_mode, whose tensors cannot be trained on
def features(network: Network, x: Tensor, precision: str) -> Tensor:
    """(N, d) float32. x: a network's input. precision: bf16 (autocast) or float32."""
    network.eval()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return network.features(x).float()
