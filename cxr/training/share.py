"""What one of several processes does of a training that they do together (`train.processes` in params.yaml).

Every process draws the same order, augmentation and pairs for the whole batch, as one process would, and
passes its own rows through the network. DistributedDataParallel (Li et al., 2020,
https://arxiv.org/abs/2006.15704) averages the gradients, and losses are scaled so that this average is the
gradient of the whole batch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from cxr.core.errors import UserError
from cxr.models.network import Network
from cxr.training.freezing import train_mode


@dataclass(frozen=True)
class Share:
    """rank: of this process, in 0..count-1. With a count of 1 there is no other process, and every method
    returns what it was given. With more, all processes call the same methods in the same order, as members of
    PyTorch's default process group."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and reports progress."""
        return self.rank == 0

    def own(self, batch: Tensor) -> Tensor:
        """The consecutive rows of a batch that this process trains on; counts differ by one at most."""
        return batch if self.count == 1 else batch.tensor_split(self.count)[self.rank]

    def scaled(self, loss: Tensor, weights: Tensor) -> Tensor:
        """The loss whose mean over processes is that of the whole batch.

        loss: (), the weighted mean over this process's own rows. weights: (N,), of each row of the whole
        batch.
        """
        if self.count == 1:
            return loss
        return loss * (self.count * self.own(weights).sum() / weights.sum())

    def seed(self, seed: int) -> int:
        """Of PyTorch's global generator, from which dropout is drawn: another one in each process, but the
        first, which has that of one process."""
        if self.first:
            return seed
        return int(np.random.SeedSequence([seed, self.rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def prepared(self, network: Network) -> Network:
        """With batch normalisation over whole batches where PyTorch has it, which is on GPUs."""
        if self.count == 1 or next(network.parameters()).device.type == "cpu":
            return network
        from timm.layers import convert_sync_batchnorm  # knows timm's own layers, unlike PyTorch's function

        return convert_sync_batchnorm(network)

    def check(self, network: Network, backbone: str) -> None:
        """Raises `UserError` if training would normalise by the statistics of this process's rows alone."""
        if self.count == 1:
            return
        train_mode(network)
        active = [
            module for module in network.modules() if isinstance(module, _BatchNorm) and module.training
        ]
        if any(not isinstance(module, nn.SyncBatchNorm) for module in active):
            raise UserError(
                f"params.yaml: train.processes is {self.count}, but {backbone} has batch normalisation, "
                "which PyTorch computes over several processes on GPUs alone; set it to 1, or model.backbone "
                "to one with layer normalisation, such as timm:vit_tiny_patch16_224"
            )

    def parallel(self, module: nn.Module) -> nn.Module:
        """`module`, whose gradients are averaged over all processes while they are computed.

        PyTorch rearranges the buckets of gradients after the first batch, and more than two numbers have
        another sum in another order. So each epoch calls this anew: one that follows a checkpoint begins
        as if training had not been interrupted.
        """
        if self.count == 1:
            return module
        # A static graph may have weights without a gradient, which one process would leave as they are, too.
        return DistributedDataParallel(
            module, gradient_as_bucket_view=True, forward_sync_buffers=False, static_graph=True
        )

    def agreed(self, value: float) -> float:
        """The value of the first process."""
        if self.count == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(tensor, 0)
        return float(tensor)

    def gathered(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def each(self, batches: Iterable[Tensor], compute: Callable[[Tensor], Tensor]) -> Tensor:
        """`compute` of all batches, concatenated. Each process computes every `count`-th of them, so that the
        result is to the last byte that of one process; with several it is on the CPU."""
        if self.count == 1:
            return torch.cat([compute(batch) for batch in batches])
        numbered = enumerate(batches)
        own = {number: compute(batch).cpu() for number, batch in numbered if number % self.count == self.rank}
        parts = {number: part for of_rank in self.gathered(own) for number, part in of_rank.items()}
        return torch.cat([parts[number] for number in sorted(parts)])


ALONE = Share()
