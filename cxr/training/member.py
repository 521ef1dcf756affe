"""One member of the ensemble: from the packed data to trained weights and a learning curve."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cxr.core.dataset import Dataset, load_dataset
from cxr.core.device import autocast
from cxr.core.errors import UserError
from cxr.models.backbones import build_backbone
from cxr.models.classifier import Spec, batch_size, build_member
from cxr.models.network import Network, binary_to_two_logits
from cxr.models.preprocess import fit_normalisation, to_grey
from cxr.params import Finetune, Params, Train
from cxr.training.checkpoints import checkpoint_path, load_checkpoint, save_checkpoint
from cxr.training.freezing import HeadOnly, augmented_features, clean_features, freeze
from cxr.training.log import open_log
from cxr.training.loop import AugmentedImages, Inputs, Phase, member_seed
from cxr.training.parallel import Tick
from cxr.training.selection import Measures, Selection, measure_epoch
from cxr.training.targets import Targets, make_targets

# Train and val are measured alike: one view, no augmentation, weights or label smoothing, equally many
# images.
HISTORY_COLUMNS = ("member", "epoch", "lr", "train_nll", "val_nll", "train_accuracy", "val_accuracy")


@dataclass(frozen=True)
class Trained:
    """state: the network's tensors, on the CPU. history: one row of `HISTORY_COLUMNS` for each epoch."""

    state: dict[str, Tensor]
    history: list[tuple[float, ...]]


def prepare(params: Params, data: Dataset, rows: np.ndarray, subclasses: list[str]) -> tuple[Spec, Targets]:
    """What the members trained on `rows` have in common. subclasses: the names of the rows' sub-classes.

    Raises `UserError` if the parameters do not go together, or not with the data.
    """
    targets = make_targets(params.imbalance, data.labels[rows], data.classes, subclasses)
    if params.train.loss == "bce" and len(targets.outputs) != 2:
        raise UserError(
            f"params.yaml: train.loss is bce, one logit, but there are {len(targets.outputs)} outputs: "
            f"{', '.join(targets.outputs)}; set it to cross_entropy"
        )
    model, size = params.model, data.images.shape[1]
    wanted = None if model.input_size == "auto" else model.input_size
    expects = build_backbone(
        model.backbone,
        weights=model.weights,
        weights_sha256=model.weights_sha256,
        size=wanted,
        stored_size=size,
    ).input
    mean, std = fit_normalisation(data.images[rows])
    spec = Spec(
        backbone=model.backbone,
        input_size=expects.size,
        mean=list(expects.mean or [mean] * expects.channels),
        std=list(expects.std or [std] * expects.channels),
        hidden=model.hidden,
        dropout=model.dropout,
        logits=1 if params.train.loss == "bce" else len(targets.outputs),
        classes=data.classes,
        outputs=targets.outputs,
        output_classes=targets.classes.tolist(),
        size=size,
        tta=model.tta,
        members=params.train.members,
        prior=[round(float(share), 6) for share in targets.prior],
    )
    network = build_member(spec)
    for name, phase in phases(params).items():
        freeze(network, phase.trainable, f"{name}.trainable")  # refuses now what training would refuse late
    return spec, targets


def phases(params: Params) -> dict[str, Train | Finetune]:
    """The phases of a training, by the section of params.yaml that describes them."""
    second: dict[str, Train | Finetune] = {"finetune": params.finetune} if params.finetune.epochs else {}
    return {"train": params.train} | second


@dataclass(frozen=True)
class MemberTask:
    """Trains member `number` on `rows` when called. Another process it is sent to reads the data itself.

    resume: the key under which a killed training left its state (see `cxr.training.checkpoints`); None keeps
    no state.
    """

    params: Params
    spec: Spec
    targets: Targets
    rows: np.ndarray
    device: torch.device
    resume: str | None = None

    def __call__(self, number: int, tick: Tick) -> Trained:
        """Calls `tick` after each epoch. Raises `UserError` when the loss is no longer finite, or when the
        device or the disk is full."""
        try:
            return self._train(number, tick)
        except torch.OutOfMemoryError:
            raise UserError(
                f"params.yaml: train.batch_size is {self.params.train.batch_size}, more than the memory of "
                "the device takes with this backbone; lower it"
            ) from None

    def _train(self, number: int, tick: Tick) -> Trained:
        params, train = self.params, self.params.train
        log = open_log("train")
        seed = member_seed(params.seed, number)
        torch.manual_seed(seed)
        network = build_member(self.spec, params.model).to(self.device).to(memory_format=torch.channels_last)
        images = _Material(self, load_dataset())

        place = checkpoint_path(self.resume, number) if self.resume else None
        saved = load_checkpoint(place) if place else None
        history: list[tuple[float, ...]] = saved["history"] if saved else []
        best = saved["best"] if saved else None  # score and weights that the phase before selected
        for _ in history:
            tick()
        for index, phase in enumerate(phases(params).values()):
            if saved and index < saved["phase"]:
                continue
            if best:
                network.load_state_dict(best["state"])
            freeze(network, phase.trainable)
            seed = member_seed(params.seed, number, *([index] if index else []))
            module, inputs, look = images.of_phase(network, phase, seed)
            training = Phase(module, inputs, self.targets, train, phase, seed)
            selection = Selection(train.select)
            if saved:
                training.load_state_dict(saved["training"])
                selection.load_state_dict(saved["selection"])
                saved = None
            while training.done < phase.epochs and not selection.exhausted(train.early_stopping):
                lr = training.epoch()
                on_train, on_val = look(training.released)
                training.schedule.after_epoch(on_val.nll)
                selection.offer(training.released, on_val)
                row = (on_train.nll, on_val.nll, on_train.accuracy, on_val.accuracy)
                history.append((number, len(history) + 1, lr, *row))
                log.info("member %d epoch %d lr %.2e nll %.4f val %.4f accuracy %.4f val %.4f", *history[-1])
                if place:
                    state = {"training": training.state_dict(), "selection": selection.state_dict()}
                    save_checkpoint(place, {"phase": index, "best": best, "history": history, **state})
                tick()
            module.load_state_dict(selection.state)
            if best is None or selection.score > best["score"]:
                weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
                best = {"score": selection.score, "state": weights}
        assert best is not None  # there is at least one phase, of at least one epoch
        return Trained({name: t.cpu().contiguous() for name, t in best["state"].items()}, history)


class _Material:
    """The images of one member's training, as each phase needs them."""

    def __init__(self, task: MemberTask, data: Dataset) -> None:
        self.task, self.precision = task, task.params.train.precision
        train, val = task.rows, data.rows("val")
        # As many training images as there are val images, so that both curves are equally noisy.
        sample = np.random.default_rng(task.params.seed).permutation(len(train))[: len(val)]
        self.labels = (data.labels[train][sample], data.labels[val])
        self.images = torch.from_numpy(data.images[train]).to(task.device)
        self.seen = self.images[torch.from_numpy(sample).to(task.device)]
        self.val = torch.from_numpy(data.images[val]).to(task.device)
        self.preprocess = task.spec.preprocess

    def of_phase(
        self, network: Network, phase: Train | Finetune, seed: int
    ) -> tuple[nn.Module, Inputs, Callable[[nn.Module], tuple[Measures, Measures]]]:
        """What is trained, on which inputs, and how it is measured on training images and on val."""
        augmentation, preprocess = self.task.params.augment, self.preprocess
        if phase.trainable == "head":
            views = augmented_features(network, self.images, augmentation, preprocess, self.precision, seed)
            clean = [
                clean_features(network, images, preprocess, self.precision)
                for images in (self.seen, self.val)
            ]
            return HeadOnly(network), views, lambda module: self._measures(module, *([one] for one in clean))
        inputs = AugmentedImages(self.images, augmentation, preprocess)
        return (
            network,
            inputs,
            lambda module: self._measures(module, *map(self._batches, (self.seen, self.val))),
        )

    def _batches(self, images: Tensor) -> Iterator[Tensor]:
        for radiographs in images.split(batch_size(self.preprocess.size)):
            yield self.preprocess(to_grey(radiographs))

    @torch.inference_mode()
    def _measures(
        self, module: nn.Module, seen: Iterable[Tensor], val: Iterable[Tensor]
    ) -> tuple[Measures, Measures]:
        module.eval()
        found = []
        with autocast(self.task.device, self.precision):
            for inputs, labels in zip((seen, val), self.labels, strict=True):
                fine = torch.cat([binary_to_two_logits(module(x).float()).softmax(dim=-1) for x in inputs])
                found.append(measure_epoch((fine.cpu().numpy() @ self.task.spec.summing), labels))
        return found[0], found[1]
