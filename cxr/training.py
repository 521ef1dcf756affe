"""The training loop: the whole data set is one uint8 tensor on the device, augmented a batch at a time."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxr.augment import augment
from cxr.errors import UserError
from cxr.params import Augment, Train
from cxr.preprocess import Normalisation, to_grey


def member_seed(seed: int, member: int) -> int:
    """The seed of one ensemble member; two different pairs (seed, member) share no random numbers."""
    return int(np.random.SeedSequence([seed, member]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision with bfloat16 for `precision` "bf16"; no change for "float32"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    weights: Tensor,
    normalise: Normalisation,
    settings: Train,
    augmentation: Augment,
    seed: int,
) -> Iterator[float]:
    """Train `network` in place with AdamW and a one-cycle schedule; yield the learning rate after each epoch.

    images: (N, H, W) uint8, labels: (N,) int64 and weights: (outputs,) float32 loss weights, all on the
    network's device. An epoch is N // batch_size full batches in a new order.
    AdamW: https://arxiv.org/abs/1711.05101. One-cycle: https://arxiv.org/abs/1708.07120.
    Raises `UserError` when the loss is no longer finite.
    """
    device = images.device
    generator = torch.Generator(device).manual_seed(seed)
    torch.manual_seed(seed)  # dropout has no generator of its own
    batch = min(settings.batch_size, len(images))
    steps = len(images) // batch
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.lr, total_steps=settings.epochs * steps
    )

    for epoch in range(settings.epochs):
        network.train()
        order = torch.randperm(len(images), generator=generator, device=device)[: steps * batch]
        total = torch.zeros((), device=device)
        for rows in order.view(steps, batch):
            grey = augment(to_grey(images[rows]), augmentation, generator)
            x = normalise(grey).contiguous(memory_format=torch.channels_last)
            with autocast(device, settings.precision):
                logits = network(x)
            loss = F.cross_entropy(
                logits.float(), labels[rows], weights, label_smoothing=settings.label_smoothing
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate = float(schedule.get_last_lr()[0])
            schedule.step()
            total += loss.detach()
        if not torch.isfinite(total):
            raise UserError(
                f"params.yaml: train.lr is {settings.lr:g}; lower it, epoch {epoch + 1} has no finite loss"
            )
        yield rate
