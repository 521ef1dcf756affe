"""Which weights train, and which are frozen."""

from torch import Tensor, nn

from cxr.core.errors import UserError
from cxr.models.network import Network


def freeze(network: Network, trainable: str | list[str], key: str = "train.trainable") -> None:
    """Set `requires_grad` of all weights, whatever it was before; the head always trains.

    trainable: "all", "head", or a list of modules of the base such as `features.6` and `layer4`, each with
    all its submodules; the list may name "head" too. key: of params.yaml, for the error message.
    Raises `UserError` if the base has no such module with weights.
    """
    base = network.base
    parts = [] if isinstance(trainable, str) else [part for part in trainable if part != "head"]
    known = [name for name, module in base.named_modules() if name and list(module.parameters())]
    for part in parts:
        if part not in known:
            raise UserError(_unknown_module(part, known, key))
    network.requires_grad_(True)
    if trainable == "all":
        return
    base.requires_grad_(False)
    for part in parts:
        base.get_submodule(part).requires_grad_(True)


def train_mode(network: nn.Module) -> None:
    """Training mode, except for modules all of whose weights are frozen: they stay in evaluation mode, where
    batch normalisation keeps its statistics, and dropout and stochastic depth are off."""
    network.train()
    for module in network.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


class HeadOnly(nn.Module):
    """Dropout and head of a network, shared with it: training this module trains the network's head.

    Input (N, d) float32 features, output (N, outputs) logits.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.dropout, self.head = network.dropout, network.head

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.dropout(features))


def _unknown_module(part: str, known: list[str], key: str) -> str:
    """For `features.9` the submodules of `features` are offered, for `layer9` the modules at the top."""
    parent = part
    while parent and parent not in known:
        parent = parent.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    return (
        f"params.yaml: {key} names {part}, but the backbone has no such module with weights; "
        f"choose from {', '.join([*siblings, 'head'])}"
    )
