"""The training loop: the whole data set is one tensor on the device, augmented one batch at a time."""

from typing import Any

import torch
from torch import Tensor, nn

from cxr.core.device import Precision, autocast
from cxr.core.errors import UserError
from cxr.params import Train
from cxr.training.freezing import train_mode
from cxr.training.inputs import Inputs
from cxr.training.optimisation import Schedule, make_optimiser, moving_average
from cxr.training.share import ALONE, Share
from cxr.training.targets import Targets, classification_loss


class Phase:
    """One phase of a training: `epoch` trains in place the weights of `module` that are not frozen.

    settings: of this phase (see `cxr.training.member.phases`), but for its precision, which may be "auto".
    With `select` "ema", `released` is the moving average of the weights, else it is `module` itself.
    `state_dict` has everything that the next epoch depends on. share: what this process does of it.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Inputs,
        targets: Targets,
        settings: Train,
        precision: Precision,
        seed: int,
        share: Share = ALONE,
    ) -> None:
        self.module, self.inputs, self.settings, self.precision = module, inputs, settings, precision
        self.share, self.parallel = share, module
        device = inputs.device
        self.labels = torch.from_numpy(targets.labels).to(device)
        self.weights = torch.from_numpy(targets.weights).to(device)
        self.offsets = torch.from_numpy(targets.offsets).to(device)
        self.gamma = targets.gamma
        self.sampling = None if targets.sampling is None else torch.from_numpy(targets.sampling).to(device)
        self.batch = min(settings.batch_size, len(inputs))
        if self.batch < share.count:
            raise UserError(
                f"params.yaml: train.processes is {share.count}, but a batch has {self.batch} images; lower "
                "train.processes, or raise train.batch_size"
            )
        self.steps = len(inputs) // self.batch
        self.done = 0  # epochs
        trainable = [weight for weight in module.parameters() if weight.requires_grad]
        self.optimiser = make_optimiser(trainable, settings)
        self.schedule = Schedule(self.optimiser, settings, self.steps)
        self.average = moving_average(module) if settings.select == "ema" else None
        self.generator = torch.Generator(device).manual_seed(seed)
        torch.manual_seed(share.seed(seed))  # dropout and mixup's Beta distribution take no generator

    @property
    def released(self) -> nn.Module:
        return self.module if self.average is None else self.average.module

    def epoch(self) -> float:
        """Train on N // batch_size full batches in a new order. Returns the learning rate of the last one.

        Raises `UserError` when the loss is no longer finite.
        """
        train_mode(self.module)
        self.parallel = self.share.parallel(self.module)
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
        total = torch.stack(self.share.gathered(total.cpu())).sum()
        if not torch.isfinite(total):
            raise UserError(
                f"params.yaml: at a learning rate of {rate:.3g} epoch {self.done} has no finite loss; lower "
                "train.lr (or finetune.lr)"
            )
        return rate

    def _loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """With `mixup`, of images blended in pairs (Zhang et al., 2018, https://arxiv.org/abs/1710.09412);
        all pairs of a batch have the same weight."""
        weight, partner = 1.0, None
        if self.settings.mixup:
            alpha = torch.tensor(self.settings.mixup)
            weight = self.share.agreed(float(torch.distributions.Beta(alpha, alpha).sample()))
            partner = torch.randperm(len(x), generator=self.generator, device=x.device)
            x = weight * x + (1 - weight) * x[partner]
        with autocast(self.inputs.device, self.precision):
            logits = self.parallel(self.share.own(x)).float()

        def loss_for(labels: Tensor) -> Tensor:
            truth = self.share.own(labels)
            loss = classification_loss(
                logits, truth, self.weights, self.offsets, self.gamma, self.settings.label_smoothing
            )
            return self.share.scaled(loss, self.weights[labels])

        loss = loss_for(labels)
        return loss if partner is None else weight * loss + (1 - weight) * loss_for(labels[partner])

    def _order(self) -> Tensor:
        """(steps * batch,) int64, the rows of one epoch."""
        count = self.steps * self.batch
        if self.sampling is not None:
            return torch.multinomial(self.sampling, count, replacement=True, generator=self.generator)
        device = self.inputs.device
        return torch.randperm(len(self.inputs), generator=self.generator, device=device)[:count]

    def state_dict(self) -> dict[str, Any]:
        cuda = self.inputs.device.type == "cuda"
        dropout = torch.get_rng_state(), torch.cuda.get_rng_state() if cuda else None
        return {
            "done": self.done,
            "module": self.module.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "dropout": self.share.gathered(dropout),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done = state["done"]
        self.module.load_state_dict(state["module"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"].cpu())
        on_cpu, on_gpu = state["dropout"][self.share.rank]
        torch.set_rng_state(on_cpu.cpu())
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu.cpu())
