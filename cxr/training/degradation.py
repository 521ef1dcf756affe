"""Loss of image quality for a whole batch: Gaussian blur, noise, and JPEG compression, each with random
strength of its own for every image."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8  # pixels a side of a block of JPEG
# The luminance table of ITU-T T.81 (1992), annex K.1, which libjpeg takes at quality 50.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def blurred(grey: Tensor, deviation: Tensor) -> Tensor:
    """grey: (N, 1, H, W) float32. deviation: (N, 1, 1, 1), of each image's Gaussian, as a fraction of the
    image side. At the border the weights are those of the pixels that are there."""
    down, across = (_gaussian(side, deviation * side) for side in grey.shape[-2:])
    return down @ grey @ across.transpose(-2, -1)


def _gaussian(side: int, deviation: Tensor) -> Tensor:
    """(N, 1, side, side): each row has the weights of one pixel's neighbours, which sum to 1."""
    axis = torch.arange(side, dtype=torch.float32, device=deviation.device)
    distance = (axis - axis.unsqueeze(1)) / deviation.clamp(min=0.05)  # below, no neighbour has a weight
    weights = torch.exp(-0.5 * distance.square())
    return weights / weights.sum(dim=-1, keepdim=True)


def noisy(grey: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """Independent Gaussian noise for each pixel. deviation: (N, 1, 1, 1), in grey levels from 0 to 1."""
    return grey + deviation * torch.randn(grey.shape, generator=generator, device=grey.device)


def compressed(grey: Tensor, quality: Tensor) -> Tensor:
    """Each image after JPEG compression, as by libjpeg but for its rounding of intermediate values.

    grey: (N, 1, H, W) float32 in [0, 1]. quality: (N, 1, 1, 1), 1 to 100, which scales the table as in
    libjpeg.
    """
    height, width = grey.shape[-2:]
    padded = F.pad(255 * grey - 128, (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate")
    blocks = padded.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4)
    transform, table = (constant.to(grey.device) for constant in _constants())
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    steps = ((table * percent + 50) / 100).floor().clamp(1, 255).view(-1, 1, 1, 1, BLOCK, BLOCK)
    coefficients = transform @ blocks @ transform.T
    restored = transform.T @ ((coefficients / steps).round() * steps) @ transform
    joined = restored.transpose(3, 4).flatten(4, 5).flatten(2, 3)
    return (joined[..., :height, :width].round().clamp(-128, 127) + 128) / 255


@cache
def _constants() -> tuple[Tensor, Tensor]:
    """The orthonormal discrete cosine transform, and the steps at quality 50, both (8, 8) float32."""
    place = torch.arange(BLOCK, dtype=torch.float32)
    transform = torch.cos(torch.pi / BLOCK * (place + 0.5) * place.unsqueeze(1)) * (2 / BLOCK) ** 0.5
    transform[0] /= 2**0.5
    return transform, torch.tensor(LUMINANCE, dtype=torch.float32)
