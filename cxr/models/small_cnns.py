"""Networks for 28-pixel images: the default, the published small CNN, and ResNet-18 with a small stem."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from torchvision.models import ResNet

WIDTHS = (32, 64, 128)
DIMENSIONS = WIDTHS[-1]  # of compact_cnn, compact_resnet and small_cnn
WIDE = (48, 96, 192)  # of compact_cnn_wide
RESNET_DIMENSIONS = 512


def compact_cnn(widths: tuple[int, int, int] = WIDTHS) -> nn.Sequential:
    """Three blocks of two convolutions with max-pooling between them: 287,000 parameters with a head.

    Input (N, 1, H, W) normalised float, output (N, widths[-1]) features, the means of the last feature maps.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 1
    for number, width in enumerate(widths, start=1):
        if parts:
            parts[f"pool{number - 1}"] = nn.MaxPool2d(2)
        parts[f"block{number}"] = nn.Sequential(*_convolution(channels, width), *_convolution(width, width))
        channels = width
    parts["mean"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    return nn.Sequential(parts)


def compact_resnet() -> nn.Sequential:
    """compact_cnn with a residual block (He et al., 2016, https://arxiv.org/abs/1512.03385) after each of its
    blocks: 730,000 parameters with a head. Input and output as of compact_cnn."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for name, part in compact_cnn().named_children():
        parts[name] = part
        if name.startswith("block"):
            parts[name.replace("block", "residual")] = Residual(WIDTHS[int(name.removeprefix("block")) - 1])
    return nn.Sequential(parts)


class Residual(nn.Module):
    """(N, width, H, W) to the same shape: two convolutions, whose output is added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(*_convolution(width, width), *_convolution(width, width)[:2])

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.change(x)).relu()


def small_cnn() -> nn.Sequential:
    """Three convolutions, each with max-pooling: 92,801 parameters with a head of one logit.

    Input (N, 1, H, W) normalised float, output (N, 128) features, the means of the last feature maps.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 1
    for number, width in enumerate(WIDTHS, start=1):
        parts[f"block{number}"] = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        channels = width
    parts["mean"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    return nn.Sequential(parts)


def resnet18_28() -> "ResNet":
    """ResNet-18 (He et al., 2016, https://arxiv.org/abs/1512.03385) as changed for 28 pixels by the authors
    of MedMNIST: a 3x3 stem of stride 1 and no max-pooling (https://github.com/MedMNIST/experiments). 11.2
    million parameters.

    Input (N, 1, H, W) normalised float, output (N, 512) features, the means of the last feature maps.
    """
    from torchvision.models import resnet18  # takes seconds to import, and the other networks do not need it

    model = resnet18()
    model.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as the others
    model.maxpool = nn.Identity()
    model.fc = nn.Identity()
    return model


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    # No bias: the batch normalisation after it has one.
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
