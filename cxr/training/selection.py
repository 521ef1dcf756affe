"""Which weights of a training are released, and when it stops early."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from cxr.core.probabilities import nll


@dataclass(frozen=True)
class Measures:
    """nll: log loss in nats. auc: area under the ROC curve, with three classes or more the mean over classes
    of each against the rest. accuracy: of the most probable class. auc and accuracy are in [0, 1]."""

    nll: float
    auc: float
    accuracy: float


def measure_epoch(probabilities: np.ndarray, labels: np.ndarray) -> Measures:
    """probabilities: (N, classes) float, sub-classes already summed. labels: (N,) int."""
    one_hot = np.eye(probabilities.shape[1])[labels]
    scores = (one_hot[:, 1], probabilities[:, 1]) if one_hot.shape[1] == 2 else (one_hot, probabilities)
    return Measures(
        nll=nll(probabilities, labels),
        auc=float(roc_auc_score(*scores)),
        accuracy=float(np.mean(probabilities.argmax(axis=1) == labels)),
    )


class Selection:
    """The weights that one phase releases, and their score on val; higher is better.

    rule: as train.select in params.yaml. "val_auc" and "val_accuracy" score by these, all others by minus the
    log loss. "last" and "ema" always keep the newest weights, the other rules those with the highest score,
    the earliest if several have it. epoch: the number of the one that `state` is of.
    """

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.score = -np.inf
        self.state: dict[str, Tensor] = {}
        self.epoch = 0
        self.best = -np.inf
        self.stale = 0  # epochs since `best` last rose

    def offer(self, module: nn.Module, val: Measures, epoch: int) -> None:
        """Consider the weights of `module` after the epoch of this number. val: its measures on val."""
        score = {"val_auc": val.auc, "val_accuracy": val.accuracy}.get(self.rule, -val.nll)
        self.stale = 0 if score > self.best else self.stale + 1
        if self.rule in ("last", "ema") or score > self.best:
            self.score, self.epoch = score, epoch
            self.state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        self.best = max(self.best, score)

    def exhausted(self, patience: int) -> bool:
        """Whether the last `patience` epochs brought no better score; never with 0."""
        return bool(patience) and self.stale >= patience

    def state_dict(self) -> dict[str, Any]:
        kept = {"score": self.score, "state": self.state, "epoch": self.epoch}
        return kept | {"best": self.best, "stale": self.stale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.score, self.state, self.epoch = state["score"], state["state"], state["epoch"]
        self.best, self.stale = state["best"], state["stale"]
