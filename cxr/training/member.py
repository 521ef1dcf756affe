"""One member of the ensemble: from the packed data set to trained weights and a learning curve."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cxr.core.dataset import Dataset, load_dataset
from cxr.core.device import autocast, choose_precision
from cxr.core.engine import Tick
from cxr.core.errors import UserError
from cxr.core.log import open_log
from cxr.models.backbones import backbone_input, fetch_weights
from cxr.models.classifier import Spec, build_member
from cxr.models.encoders.load import FrozenEncoder, frozen_encoder
from cxr.models.network import binary_to_two_logits
from cxr.models.preprocess import fit_normalisation
from cxr.params import Params, Train
from cxr.training.checkpoints import checkpoint_path, load_checkpoint, save_checkpoint
from cxr.training.freezing import HeadOnly, freeze
from cxr.training.history import save_epochs
from cxr.training.inputs import (
    AugmentedImages,
    Inputs,
    UnaugmentedImages,
    augmented_features,
    unaugmented_features,
)
from cxr.training.loop import Phase
from cxr.training.selection import Selection, measure_epoch
from cxr.training.share import ALONE, Share
from cxr.training.targets import Subclasses, Targets, make_targets

ENCODER = "encoder"  # of model.backbone: the encoder of clip_embed, frozen (see `cxr.training.probe`)


@dataclass(frozen=True)
class Trained:
    """state: the network's tensors, on the CPU. history: for each epoch one row of
    `cxr.training.history.HISTORY_COLUMNS`. note: a line for the user, if there is something to say."""

    state: dict[str, Tensor]
    history: list[tuple[float, ...]]
    note: str = ""


@dataclass(frozen=True)
class MemberTask:
    """The arguments of `train_member` that all members share; picklable, so that a member trains in any
    process.

    rows: (n,) of the training images in the packed data set. resume: the key of checkpoints (see
    `cxr.core.resuming.resume_key`); None keeps none.
    """

    params: Params
    spec: Spec
    targets: Targets
    rows: np.ndarray
    device: torch.device
    resume: str | None = None

    def __call__(self, number: int, tick: Tick, share: Share = ALONE) -> Trained:
        """`train_member`. Raises `UserError` if it needs more memory than the device has."""
        try:
            return train_member(number, self, tick, share)
        except torch.OutOfMemoryError:
            raise UserError(
                f"params.yaml: train.batch_size is {self.params.train.batch_size}, too large for the memory "
                "of the device with this backbone; lower it"
            ) from None


def prepare(
    params: Params, data: Dataset, rows: np.ndarray, subclasses: Subclasses, device: torch.device
) -> tuple[Spec, Targets]:
    """What all members trained on `rows` on `device` share. subclasses: of the rows.

    Fetches published weights. Raises `UserError` if they are unavailable, or if the parameters do not agree
    with one another or with the data.
    """
    targets = make_targets(params.imbalance, data.labels[rows], data.classes, subclasses)
    if params.train.loss == "bce" and len(targets.outputs) != 2:
        raise UserError(
            f"params.yaml: train.loss is bce, one logit, but there are {len(targets.outputs)} outputs: "
            f"{', '.join(targets.outputs)}; set it to cross_entropy"
        )
    model, stored_size = params.model, data.images.shape[1]
    size = None if model.input_size == "auto" else model.input_size
    encoder: FrozenEncoder | None = None
    if model.backbone == ENCODER:
        if model.hidden:
            raise UserError(
                f"params.yaml: model.hidden is {model.hidden}, but the head of backbone {ENCODER} is linear; "
                "set it to 0"
            )
        if model.weights != "none":
            raise UserError(
                f"params.yaml: model.weights is {model.weights}, but {ENCODER} has those of clip_embed; "
                "set it to none"
            )
        expects, encoder = frozen_encoder(params.clip_embed, size)
    else:
        expects = backbone_input(model.backbone, weights=model.weights, size=size, stored_size=stored_size)
        fetch_weights(model.backbone, model.weights, model.weights_sha256)
    mean, std = fit_normalisation(data.images[rows])
    spec = Spec(
        backbone=params.clip_embed.encoder if encoder else model.backbone,
        input_size=expects.size,
        mean=list(expects.mean or [mean] * expects.channels),
        std=list(expects.std or [std] * expects.channels),
        normalisation=model.normalisation,
        hidden=model.hidden,
        dropout=model.dropout,
        logits=1 if params.train.loss == "bce" else len(targets.outputs),
        classes=data.classes,
        outputs=targets.outputs,
        output_classes=targets.classes.tolist(),
        size=stored_size,
        tta=model.tta,
        members=1 if encoder else params.train.members,  # its head depends on no seed
        reading=data.reading,
        precision=choose_precision(params.train.precision, device),
        encoder=encoder,
        prior=[round(float(prevalence), 6) for prevalence in targets.prior],
    )
    return spec, targets


def phases(params: Params) -> dict[str, Train]:
    """The settings of each phase, by the section of params.yaml that describes it.

    Settings that the section finetune does not have (batch size, mixup, factor and patience of a schedule,
    selection, ...) are those of the section train in both phases.
    """
    if not params.finetune.epochs:
        return {"train": params.train}
    return {"train": params.train, "finetune": params.train.replace(**dict(params.finetune))}


def member_seed(seed: int, member: int, *phase: int) -> int:
    """A seed of 63 bits for one member; two different pairs (seed, member) share no random numbers."""
    return int(np.random.SeedSequence([seed, member, *phase]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def train_member(number: int, task: MemberTask, tick: Tick, share: Share = ALONE) -> Trained:
    """Train member `number` on the images `task.rows` of the packed data set, and select its weights on val.

    share: what this process does of it; every process returns the same. Calls `tick` after each epoch. With a
    key `task.resume`, a training that was killed is continued after its last finished epoch (see
    `cxr.training.checkpoints`). Raises `UserError` before the first epoch if the backbone cannot take the
    input size or the weights file, has no module that `trainable` of a phase names, or cannot be trained by
    several processes; later if the loss is no longer finite, or the disk is full.
    """
    params, spec, device, precision = task.params, task.spec, task.device, task.spec.precision
    log = open_log("train")

    torch.manual_seed(member_seed(params.seed, number))
    network = share.prepared(build_member(spec, params.model).to(device))
    network = network.to(memory_format=torch.channels_last)
    for section, settings in phases(params).items():
        freeze(network, settings.trainable, f"{section}.trainable")  # an unknown module is an error now
        share.check(network, spec.backbone)

    data = load_dataset()
    val = data.rows("val")
    # As many training images as there are val images, so that both learning curves are equally noisy.
    sample = np.random.default_rng(params.seed).permutation(len(task.rows))[: len(val)]
    images = torch.from_numpy(data.images[task.rows]).to(device)
    curve_images = [
        images[torch.from_numpy(sample).to(device)],
        torch.from_numpy(data.images[val]).to(device),
    ]
    curve_labels = [data.labels[task.rows][sample], data.labels[val]]

    path = checkpoint_path(task.resume, number) if task.resume else None
    saved = load_checkpoint(path) if path else None
    history: list[tuple[float, ...]] = saved["history"] if saved else []
    if len(set(share.gathered(len(history)))) > 1:
        raise UserError(
            f"{path}: not every process finds the same epochs there; the machines need one shared folder"
        )
    best = saved["best"] if saved else None  # score and weights selected in the phases before
    for _ in history:
        tick()

    for index, settings in enumerate(phases(params).values()):
        if saved and index < saved["phase"]:
            continue
        if best:
            network.load_state_dict(best["state"])
        freeze(network, settings.trainable)

        seed = member_seed(params.seed, number, *([index] if index else []))
        module: nn.Module = network
        inputs: Inputs = AugmentedImages(images, params.augment, spec.preprocess)
        curve_inputs: list[Iterable[Tensor]] = [UnaugmentedImages(x, spec.preprocess) for x in curve_images]
        if settings.trainable == "head" and params.augment.views:
            module = HeadOnly(network)
            inputs = augmented_features(
                network, images, params.augment, spec.preprocess, precision, seed, share
            )
            curve_inputs = [
                [unaugmented_features(network, x, spec.preprocess, precision, share)] for x in curve_images
            ]

        phase = Phase(module, inputs, task.targets, settings, precision, seed, share)
        selection = Selection(settings.select)
        if saved:
            phase.load_state_dict(saved["training"])
            selection.load_state_dict(saved["selection"])
            saved = None
        while phase.done < settings.epochs and not selection.exhausted(settings.early_stopping):
            lr = phase.epoch()
            on_train, on_val = (
                measure_epoch(class_probabilities(phase.released, x, spec, share), labels)
                for x, labels in zip(curve_inputs, curve_labels, strict=True)
            )
            phase.schedule.after_epoch(on_val.nll)
            measures = (on_train.nll, on_val.nll, on_train.accuracy, on_val.accuracy)
            history.append((number, len(history) + 1, lr, *measures))
            selection.offer(phase.released, on_val, len(history))
            if share.first:
                log.info("member %d epoch %d lr %.2e nll %.4f val %.4f accuracy %.4f val %.4f", *history[-1])
            if path and task.resume:
                states = {"training": phase.state_dict(), "selection": selection.state_dict()}
                if share.first:
                    save_epochs(task.resume, number, history)
                    save_checkpoint(path, {"phase": index, "best": best, "history": history, **states})
            tick()

        module.load_state_dict(selection.state)
        if best is None or selection.score > best["score"]:
            weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
            best = {"score": selection.score, "state": weights, "epoch": selection.epoch}
    assert best is not None  # there is at least one phase, of at least one epoch
    marked = [(*row, int(row[1] == best["epoch"])) for row in history]
    return Trained({name: t.cpu().contiguous() for name, t in best["state"].items()}, marked)


@torch.inference_mode()
def class_probabilities(
    module: nn.Module, batches: Iterable[Tensor], spec: Spec, share: Share = ALONE
) -> np.ndarray:
    """(N, classes) float32 of all N inputs in `batches`, sub-classes summed."""
    module.eval()
    device = next(module.parameters()).device
    with autocast(device, spec.precision):
        outputs = share.each(batches, lambda x: binary_to_two_logits(module(x).float()).softmax(dim=-1))
    return outputs.cpu().numpy() @ spec.summing
