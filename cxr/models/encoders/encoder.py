"""A published network with the preprocessing it expects, and the embedding of images in batches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from tqdm import tqdm

from cxr.core.dataset import ImageRows
from cxr.core.errors import UserError
from cxr.models.encoders.resizing import Resizing, resize_square

BATCH = 64  # larger ones gain nothing on a CPU


@dataclass(frozen=True)
class Preparation:
    """size: (height, width) in pixels to which a square image is resized, antialiased. crop: (top, left,
    height, width) of the part that is kept. mean, std: per channel, in grey levels from 0 to 255. resizing:
    in which of the three ways."""

    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    interpolation: InterpolationMode
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resizing: Resizing = "levels"

    def __call__(self, images: Tensor, device: torch.device) -> Tensor:
        """images: (n, S, S) uint8 on the CPU. Returns (n, 3, height, width) float32 on `device`."""
        # On the CPU even for a GPU, whose last digits differ.
        top, left, height, width = self.crop
        grey = resize_square(images, self.size, self.interpolation, self.resizing)
        grey = grey[..., top : top + height, left : left + width].to(device)
        mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (self.mean, self.std))
        return (grey - mean).div_(std)


@dataclass(frozen=True)
class Encoder:
    """model: (n, 3, height, width) float32, prepared, to (n, dimensions). origin: what
    `cxr.models.encoders.load.build_encoder_network` builds the same network of, as JSON holds it."""

    preparation: Preparation
    model: nn.Module
    dimensions: int
    origin: dict[str, Any]

    @classmethod
    @torch.inference_mode()
    def of(cls, preparation: Preparation, model: nn.Module, origin: dict[str, Any]) -> "Encoder":
        """Runs `model` on a black image, to count its features. Raises what it raises on such an image."""
        black = torch.zeros(1, 28, 28, dtype=torch.uint8)
        features = model.eval()(preparation(black, torch.device("cpu")))
        return cls(preparation, model, features.shape[1], origin)


@torch.inference_mode()
def encode(
    network: Encoder, images: np.ndarray | ImageRows, device: torch.device, precision: str
) -> np.ndarray:
    """images: (N, S, S) uint8, read a batch at a time. precision: bf16 (autocast) or float32.

    Returns (N, dimensions) float32. Raises `UserError` if the images are not square.
    """
    count, height, width = images.shape
    if height != width:
        raise UserError(f"images are {height} x {width} pixels; clip_embed.encoder takes square ones")
    embeddings = np.empty((count, network.dimensions), np.float32)
    network.model.eval().to(device).to(memory_format=torch.channels_last)
    # Autocast keeps the weights it has cast until it ends: once for all batches.
    with (
        torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"),
        tqdm(total=count, unit="image", disable=None) as bar,
    ):
        for start in range(0, count, BATCH):
            batch = np.array(images[start : start + BATCH])
            features = network.model(network.preparation(torch.from_numpy(batch), device))
            embeddings[start : start + len(batch)] = features.float().cpu().numpy()
            bar.update(len(batch))
    return embeddings
