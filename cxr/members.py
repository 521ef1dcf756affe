"""One member of the ensemble: from the packed data to trained weights and a learning curve."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cxr.data import packed
from cxr.data.packed import Packed
from cxr.imbalance import Targets, make_targets
from cxr.logs import open_log
from cxr.models.classifier import Classifier, Prediction, Spec, build_member, predict
from cxr.parallel import Tick
from cxr.params import Params
from cxr.preprocess import Normalisation, fit_normalisation
from cxr.training import autocast, fit, member_seed

# Train and val are measured alike: one view, no augmentation, weights or label smoothing, equally many films.
HISTORY_COLUMNS = ("member", "epoch", "lr", "train_nll", "val_nll", "train_accuracy", "val_accuracy")


@dataclass(frozen=True)
class Trained:
    """state: the network's tensors, on the CPU. history: one row of `HISTORY_COLUMNS` for each epoch."""

    state: dict[str, Tensor]
    history: list[tuple[float, ...]]


def prepare(params: Params, data: Packed, rows: np.ndarray, subclasses: list[str]) -> tuple[Spec, Targets]:
    """What the members trained on `rows` have in common. subclasses: the names of the rows' sub-classes."""
    targets = make_targets(params.imbalance.strategy, data.labels[rows], data.classes, subclasses)
    normalise = fit_normalisation(data.images[rows])
    spec = Spec(
        backbone=params.model.backbone,
        dropout=params.model.dropout,
        classes=data.classes,
        outputs=targets.outputs,
        output_classes=targets.classes.tolist(),
        size=data.images.shape[1],
        mean=normalise.mean,
        std=normalise.std,
        flip_tta=params.model.flip_tta,
        members=params.train.members,
    )
    return spec, targets


@dataclass(frozen=True)
class MemberTask:
    """Trains member `number` on `rows` when called. Another process it is sent to reads the data itself."""

    params: Params
    spec: Spec
    targets: Targets
    rows: np.ndarray
    device: torch.device

    def __call__(self, number: int, tick: Tick) -> Trained:
        """Calls `tick` after each epoch. Raises `UserError` when the loss is no longer finite."""
        params, device = self.params, self.device
        log = open_log("train")
        data = packed.load()
        train, val = self.rows, data.rows("val")
        pictures = data.images[train]
        seed = member_seed(params.seed, number)
        torch.manual_seed(seed)
        network = build_member(self.spec).to(device).to(memory_format=torch.channels_last)
        epochs = fit(
            network,
            torch.from_numpy(pictures).to(device),
            torch.from_numpy(self.targets.labels).to(device),
            torch.from_numpy(self.targets.weights).to(device),
            Normalisation(self.spec.mean, self.spec.std),
            params.train,
            params.augment,
            seed,
        )
        # As many training films as there are val films, so that both curves are equally noisy.
        sample = np.random.default_rng(params.seed).permutation(len(train))[: len(val)]
        alone = Classifier(replace(self.spec, flip_tta=False), [network])
        history: list[tuple[float, ...]] = []
        for epoch, lr in enumerate(epochs, start=1):
            with autocast(device, params.train.precision):
                on_train = predict(alone, pictures[sample], device)
                on_val = predict(alone, data.images[val], device)
            train_nll, train_accuracy = _measure(on_train, data.labels[train][sample])
            val_nll, val_accuracy = _measure(on_val, data.labels[val])
            row = (number, epoch, lr, train_nll, val_nll, train_accuracy, val_accuracy)
            history.append(row)
            log.info("member %d epoch %d lr %.2e nll %.4f val %.4f accuracy %.4f val %.4f", *row)
            tick()
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        return Trained(state, history)


def _measure(prediction: Prediction, labels: np.ndarray) -> tuple[float, float]:
    """Negative log-likelihood per film and accuracy of the most probable class."""
    p = prediction.mean
    nll = -np.log(np.clip(p[np.arange(len(labels)), labels], 1e-7, 1)).mean()
    return float(nll), float(np.mean(p.argmax(axis=1) == labels))
