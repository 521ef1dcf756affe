"""Train the members of the ensemble one after the other and ship them together as one classifier."""

from dataclasses import replace

import numpy as np
import torch
from tqdm import tqdm

from cxr import runtime
from cxr.data import packed
from cxr.errors import run
from cxr.files import read_csv, write_csv
from cxr.imbalance import make_targets
from cxr.logs import open_log
from cxr.models import classifier
from cxr.models.classifier import Classifier, Prediction, Spec, build_member, predict
from cxr.params import load
from cxr.preprocess import fit_normalisation
from cxr.training import autocast, fit, member_seed

HISTORY = "models/history.csv"
COLUMNS = ("member", "epoch", "lr", "train_nll", "val_nll", "train_accuracy", "val_accuracy")


def main() -> None:
    params = load()
    device = runtime.configure(params.compute)
    log = open_log("train")
    data = packed.load()
    train, val = data.rows("train"), data.rows("val")
    subclasses = [row["subclass"] for row in read_csv("data/subclasses.csv")]
    targets = make_targets(params.imbalance.strategy, data.labels[train], data.classes, subclasses)
    pictures = np.ascontiguousarray(data.images[train])
    normalise = fit_normalisation(pictures)
    spec = Spec(
        backbone=params.model.backbone,
        dropout=params.model.dropout,
        classes=data.classes,
        outputs=targets.outputs,
        output_classes=targets.classes.tolist(),
        size=pictures.shape[1],
        mean=normalise.mean,
        std=normalise.std,
        flip_tta=params.model.flip_tta,
        members=params.train.members,
    )
    log.info("torch %s on %s, %d films, outputs %s", torch.__version__, device, len(train), spec.outputs)

    images = torch.from_numpy(pictures).to(device)
    labels = torch.from_numpy(targets.labels).to(device)
    weights = torch.from_numpy(targets.weights).to(device)
    # As many training films as there are val films, so that the two curves are equally noisy.
    sample = np.random.default_rng(params.seed).permutation(len(train))[: len(val)]
    seen, unseen = pictures[sample], data.images[val]
    members, history = [], []
    with tqdm(total=spec.members * params.train.epochs, desc="train", unit="epoch", disable=None) as bar:
        for member in range(spec.members):
            seed = member_seed(params.seed, member)
            torch.manual_seed(seed)
            network = build_member(spec).to(device).to(memory_format=torch.channels_last)
            alone = Classifier(replace(spec, flip_tta=False), [network])  # curves need no second view
            epochs = fit(network, images, labels, weights, normalise, params.train, params.augment, seed)
            for epoch, lr in enumerate(epochs, start=1):
                with autocast(device, params.train.precision):
                    on_train, on_val = (predict(alone, films, device) for films in (seen, unseen))
                train_nll, train_accuracy = measure(on_train, data.labels[train][sample])
                val_nll, val_accuracy = measure(on_val, data.labels[val])
                history.append((member, epoch, lr, train_nll, val_nll, train_accuracy, val_accuracy))
                log.info("member %d epoch %d lr %.2e nll %.4f val %.4f accuracy %.4f val %.4f", *history[-1])
                bar.set_postfix(member=member, val_nll=f"{val_nll:.3f}")
                bar.update()
            members.append(network)
            print(f"member {member}: val accuracy {val_accuracy:.4f}, val nll {val_nll:.4f}")
    classifier.save(Classifier(spec, members))
    write_csv(HISTORY, COLUMNS, history)


def measure(prediction: Prediction, labels: np.ndarray) -> tuple[float, float]:
    """Negative log-likelihood per film and accuracy of the most probable class."""
    p = prediction.mean
    nll = -np.log(np.clip(p[np.arange(len(labels)), labels], 1e-7, 1)).mean()
    return float(nll), float(np.mean(p.argmax(axis=1) == labels))


if __name__ == "__main__":
    run(main)
