"""ResNet-18 (https://arxiv.org/abs/1512.03385) for 28-pixel films, as MedMNIST's authors changed it: a 3x3
stem of stride 1 and no max-pooling (https://github.com/MedMNIST/experiments)."""

from torch import nn
from torchvision.models import ResNet, resnet18

DIMENSIONS = 512


def base() -> ResNet:
    """11.2 million parameters. Input (N, 1, H, W) normalised float, output (N, 512) features, the means of
    the last feature maps."""
    model = resnet18()
    model.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as its other ones
    model.maxpool = nn.Identity()
    model.fc = nn.Identity()
    return model
