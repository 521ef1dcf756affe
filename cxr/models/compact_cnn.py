"""A plain convolutional network for 28-pixel films: three blocks of two convolutions, pooled in between."""

from torch import Tensor, nn

WIDTHS = (32, 64, 128)


class CompactCNN(nn.Module):
    """287,000 parameters. Input (N, 1, H, W) normalised float, output (N, outputs) logits.

    `features` gives the (N, 128) means of the last feature maps, `head` the logits of such features.
    """

    def __init__(self, outputs: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in WIDTHS:
            if layers:
                layers.append(nn.MaxPool2d(2))
            layers += [*_convolution(channels, width), *_convolution(width, width)]
            channels = width
        self.blocks = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, outputs)

    def features(self, x: Tensor) -> Tensor:
        return self.blocks(x).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(x)))


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    # No bias: the batch normalisation behind it has one.
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
