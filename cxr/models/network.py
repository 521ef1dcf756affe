"""The network that is trained: a backbone without its classification layer, and a new head."""

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """base: (N, C, S, S) normalised float to (N, dimensions) features. Output (N, outputs) logits.

    The head is dropout and one linear layer, or with `hidden` two linear layers with ReLU and dropout between
    them, as in the published Inception-V3 (2048-512-2). `features` computes the base's features, `head` the
    logits of such features.
    """

    def __init__(
        self, base: nn.Module, dimensions: int, outputs: int, dropout: float, hidden: int = 0
    ) -> None:
        super().__init__()
        self.base = base
        self.dropout: nn.Module
        self.head: nn.Module
        if hidden:
            self.dropout = nn.Identity()
            self.head = nn.Sequential(
                nn.Linear(dimensions, hidden),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(hidden, outputs),
            )
        else:
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(dimensions, outputs)

    def features(self, x: Tensor) -> Tensor:
        return self.base(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(x)))


def binary_to_two_logits(logits: Tensor) -> Tensor:
    """(..., outputs) logits of a softmax; a single logit z becomes (0, z), whose softmax is the sigmoid of z.

    Binary cross-entropy with one logit equals cross-entropy of (0, z), with the same weights and smoothing.
    """
    return torch.cat([torch.zeros_like(logits), logits], dim=-1) if logits.shape[-1] == 1 else logits
