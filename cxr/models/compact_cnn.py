"""A plain convolutional network for 28-pixel films: three blocks of two convolutions, pooled in between."""

from collections import OrderedDict

from torch import nn

WIDTHS = (32, 64, 128)
DIMENSIONS = WIDTHS[-1]


def base() -> nn.Sequential:
    """287,000 parameters. Input (N, 1, H, W) normalised float, output (N, 128) features, the means of the
    last feature maps."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 1
    for number, width in enumerate(WIDTHS, start=1):
        if parts:
            parts[f"pool{number - 1}"] = nn.MaxPool2d(2)
        parts[f"block{number}"] = nn.Sequential(*_convolution(channels, width), *_convolution(width, width))
        channels = width
    parts["mean"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    return nn.Sequential(parts)


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    # No bias: the batch normalisation behind it has one.
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
