"""The training loop: the whole data set is one tensor on the device, augmented a batch at a time."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cxr.core.device import autocast
from cxr.core.errors import UserError
from cxr.models.preprocess import Preprocess, to_grey
from cxr.params import Augment, Finetune, Train
from cxr.training.augment import augment
from cxr.training.freezing import train_mode
from cxr.training.optimisation import Schedule, make_optimiser, moving_average
from cxr.training.targets import Targets, classification_loss


def member_seed(seed: int, member: int, *phase: int) -> int:
    """The seed of one ensemble member; two different pairs (seed, member) share no random numbers."""
    return int(np.random.SeedSequence([seed, member, *phase]).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Inputs(Protocol):
    """A data set on the device, of which training asks for the input of some rows."""

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class AugmentedImages:
    """images: (N, H, W) uint8 on the device. Each call augments anew and returns a network's input."""

    images: Tensor
    augmentation: Augment
    preprocess: Preprocess

    @property
    def device(self) -> torch.device:
        return self.images.device

    def __len__(self) -> int:
        return len(self.images)

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        return self.preprocess(augment(to_grey(self.images[rows]), self.augmentation, generator))


class Phase:
    """One phase: `epoch` trains what `module` has to train, in place.

    With `train.select` "ema", `released` is the moving average of the weights, else it is `module` itself.
    Everything that the next epoch depends on is in `state_dict`.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Inputs,
        targets: Targets,
        train: Train,
        phase: Train | Finetune,
        seed: int,
    ) -> None:
        self.module, self.inputs, self.settings = module, inputs, train
        device = inputs.device
        self.labels = torch.from_numpy(targets.labels).to(device)
        self.weights = torch.from_numpy(targets.weights).to(device)
        self.offsets = torch.from_numpy(targets.offsets).to(device)
        self.gamma = targets.gamma
        self.sampling = None if targets.sampling is None else torch.from_numpy(targets.sampling).to(device)
        self.batch = min(train.batch_size, len(inputs))
        self.steps = len(inputs) // self.batch
        self.done = 0
        self.epochs = phase.epochs
        trainable = [weight for weight in module.parameters() if weight.requires_grad]
        self.optimiser = make_optimiser(trainable, phase)
        self.schedule = Schedule(
            phase.schedule, self.optimiser, phase.epochs, self.steps, train.factor, train.patience
        )
        self.average = moving_average(module) if train.select == "ema" else None
        self.generator = torch.Generator(device).manual_seed(seed)
        torch.manual_seed(seed)  # dropout and mixup's Beta distribution take no generator

    @property
    def released(self) -> nn.Module:
        return self.module if self.average is None else self.average.module

    def epoch(self) -> float:
        """Train for N // batch_size full batches in a new order; the learning rate of the last one.

        Raises `UserError` when the loss is no longer finite.
        """
        train_mode(self.module)
        total = torch.zeros((), device=self.inputs.device)
        rate = self.schedule.lr
        for rows in self._order().view(self.steps, self.batch):
            loss = self._loss(self.inputs(rows, self.generator), self.labels[rows])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            rate = self.schedule.lr
            self.schedule.after_step()
            if self.average is not None:
                self.average.update_parameters(self.module)
            total += loss.detach()
        self.done += 1
        if not torch.isfinite(total):
            raise UserError(
                f"params.yaml: at a learning rate of {rate:.3g} epoch {self.done} has no finite loss; lower "
                "train.lr (or finetune.lr)"
            )
        return rate

    def _loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """With `train.mixup` that of pairs of images laid over each other (Zhang et al., 2018,
        https://arxiv.org/abs/1710.09412), all pairs of a batch in the same proportion."""
        share, partner = 1.0, None
        if self.settings.mixup:
            a = torch.tensor(self.settings.mixup)
            share = float(torch.distributions.Beta(a, a).sample())
            partner = torch.randperm(len(x), generator=self.generator, device=x.device)
            x = share * x + (1 - share) * x[partner]
        with autocast(self.inputs.device, self.settings.precision):
            logits = self.module(x).float()

        def against(truth: Tensor) -> Tensor:
            return classification_loss(
                logits, truth, self.weights, self.offsets, self.gamma, self.settings.label_smoothing
            )

        loss = against(labels)
        return loss if partner is None else share * loss + (1 - share) * against(labels[partner])

    def _order(self) -> Tensor:
        """(steps * batch,) rows of one epoch."""
        wanted = self.steps * self.batch
        if self.sampling is not None:
            return torch.multinomial(self.sampling, wanted, replacement=True, generator=self.generator)
        device = self.inputs.device
        return torch.randperm(len(self.inputs), generator=self.generator, device=device)[:wanted]

    def state_dict(self) -> dict[str, Any]:
        cuda = self.inputs.device.type == "cuda"
        return {
            "done": self.done,
            "module": self.module.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "dropout": torch.get_rng_state(),
            "dropout_cuda": torch.cuda.get_rng_state() if cuda else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done = state["done"]
        self.module.load_state_dict(state["module"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"].cpu())
        torch.set_rng_state(state["dropout"].cpu())
        if state["dropout_cuda"] is not None:
            torch.cuda.set_rng_state(state["dropout_cuda"].cpu())
