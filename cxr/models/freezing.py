"""Which parts of a network train; the others do not move at all."""

from torch import nn

from cxr.errors import UserError
from cxr.models.network import Network


def freeze(network: Network, trainable: str | list[str], key: str = "train.trainable") -> None:
    """trainable: "all", "head", or modules of the base such as `features.6` and `layer4`, with all they hold.
    The head always trains, and may stand in the list. Nothing that was frozen before stays so by itself.

    key: of params.yaml, which said so. Raises `UserError` if the base has no such module with weights.
    """
    base = network.base
    parts = [] if isinstance(trainable, str) else [part for part in trainable if part != "head"]
    known = [name for name, module in base.named_modules() if name and list(module.parameters())]
    for part in parts:
        if part not in known:
            raise UserError(_unknown(part, known, key))
    network.requires_grad_(True)
    if trainable == "all":
        return
    base.requires_grad_(False)
    for part in parts:
        base.get_submodule(part).requires_grad_(True)


def train_mode(network: nn.Module) -> None:
    """Training mode, but for every module all of whose weights are frozen: there batch normalisation keeps
    its statistics, and dropout and stochastic depth let everything through."""
    network.train()
    for module in network.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def _unknown(part: str, known: list[str], key: str) -> str:
    """`features.9` is answered with what `features` holds, `layer9` with what stands at the top."""
    parent = part
    while parent and parent not in known:
        parent = parent.rpartition(".")[0]
    near = [name for name in known if name.rpartition(".")[0] == parent]
    return (
        f"params.yaml: {key} names {part}, but the backbone has no such module with weights; "
        f"choose from {', '.join([*near, 'head'])}"
    )
