"""A linear probe as a classifier: the frozen encoder of clip_embed with a logistic regression as its head."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cxr.core.dataset import load_dataset
from cxr.core.engine import Tick
from cxr.core.errors import UserError
from cxr.models.classifier import build_member
from cxr.models.encoders.load import load_encoder
from cxr.params import Params
from cxr.training.inputs import unaugmented_features
from cxr.training.logistic import FOLDS, fit_head
from cxr.training.member import MemberTask, Trained, class_probabilities
from cxr.training.selection import measure_epoch
from cxr.training.share import ALONE, Share
from cxr.training.targets import Targets


@dataclass(frozen=True)
class ProbeTask(MemberTask):
    """Fits the one member of a probe. Takes no augmentation, and of the section train the precision alone."""

    def __call__(self, number: int, tick: Tick, share: Share = ALONE) -> Trained:
        """Raises `UserError` if the loss is the focal one, or if there are too few images for the folds."""
        check_loss(self.params)
        data, spec, targets = load_dataset(), self.spec, self.targets
        network = build_member(spec)
        network.base.load_state_dict(load_encoder(self.params.clip_embed).model.state_dict())
        network = network.to(self.device).to(memory_format=torch.channels_last)

        def features_of(rows: np.ndarray) -> Tensor:
            images = torch.from_numpy(data.images[rows]).to(self.device)
            return unaugmented_features(network, images, spec.preprocess, spec.precision)

        val = data.rows("val")
        on_train, on_val = features_of(self.rows), features_of(val)
        patients = None if data.patients is None else data.patients[self.rows]
        fitted = fit_head(
            on_train.cpu().numpy(),
            targets.labels,
            image_weights(targets),
            patients,
            targets.outputs,
            self.params.seed % 2**32,
        )
        weight, bias = fitted.weight, fitted.bias - targets.offsets
        if spec.logits == 1:
            weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        head = nn.Linear(weight.shape[1], spec.logits)
        head.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        network.head = head.to(self.device)
        train_measures, val_measures = (
            measure_epoch(class_probabilities(network.head, [features], spec), data.labels[rows])
            for features, rows in ((on_train, self.rows), (on_val, val))
        )
        tick()
        measures = (train_measures.nll, val_measures.nll, train_measures.accuracy, val_measures.accuracy)
        history: list[tuple[float, ...]] = [(number, 1, 0.0, *measures, 1)]
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        grouped = "grouped by patient" if patients is not None else "of images, whose patients are unknown"
        return Trained(
            state,
            history,
            f"logistic regression on {weight.shape[1]:,} features of {spec.backbone}; penalty 1/C chosen by "
            f"{FOLDS} folds {grouped}: C {fitted.strength:.2g}, log loss {min(fitted.losses):.4f}",
        )


def check_loss(params: Params) -> None:
    if params.imbalance.strategy == "focal":
        raise UserError(
            "params.yaml: imbalance.strategy is focal, but model.backbone encoder is a logistic regression; "
            "choose another strategy"
        )


def image_weights(targets: Targets) -> np.ndarray:
    """(n,) float64: of each training image in the loss, its class weight times how often it is drawn.

    A logistic regression with logit adjustment is one without, from whose intercepts the offsets are
    subtracted afterwards.
    """
    drawn = np.ones(len(targets.labels)) if targets.sampling is None else targets.sampling
    return drawn * targets.weights[targets.labels].astype(np.float64)
