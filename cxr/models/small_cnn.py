"""A small convolutional network for 28-pixel films: three convolutions, each pooled, and global averages."""

from collections import OrderedDict

from torch import nn

WIDTHS = (32, 64, 128)
DIMENSIONS = WIDTHS[-1]


def base() -> nn.Sequential:
    """92,801 parameters with a head of one logit. Input (N, 1, H, W) normalised float, output (N, 128)
    features, the means of the last feature maps."""
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
