"""Many short trainings that differ only in their seed, for benchmarks/compare_false_alarms.py.

    python -m benchmarks.training_pool FILE.npz [--runs 64] [--epochs 4] [--augmentation 1] [--rate 1]

Trains with the settings of params.yaml (after `dvc repro cluster`), except for the number of epochs, the
strength of every augmentation, which is multiplied by AUGMENTATION, and the learning rate, which is
multiplied by RATE. A second pool with an augmentation of 0 is a known difference. A second pool with a rate
of 1.001 differs by a change without an effect: run i of both has the same seed. FILE.npz has `labels` (N,)
and `probabilities` (runs, N) of class 1 for the test radiographs, before calibration. Weights are kept in
build/train_pool, under a key of data and parameters, so that a killed run continues.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.device import configure
from cxr.core.engine import Tick, side_by_side
from cxr.core.resuming import resume_key
from cxr.models.classifier import Classifier, build_member, predict
from cxr.params import Augment, load_params
from cxr.training.member import MemberTask, Trained, prepare
from cxr.training.targets import SUBCLASSES, load_subclasses

KEPT = Path("build/train_pool")
STRENGTHS = ("rotation", "scale", "shift", "flip", "gamma", "contrast", "brightness", "noise", "erasing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--augmentation", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=1.0)
    arguments = parser.parse_args()
    params = load_params()
    params = params.replace(
        train=params.train.replace(epochs=arguments.epochs, lr=params.train.lr * arguments.rate),
        augment=scaled(params.augment, arguments.augmentation),
    )
    device = configure(params.compute.device, params.compute.threads)
    data = load_dataset()
    train, test = data.rows("train"), data.rows("test")
    spec, targets = prepare(params, data, train, load_subclasses(data), device)
    spec = replace(spec, members=1)
    folder = KEPT / resume_key([params, spec.precision], [dataset.IMAGES, dataset.LABELS, SUBCLASSES])
    folder.mkdir(parents=True, exist_ok=True)
    task = KeptMemberTask(MemberTask(params, spec, targets, train, device), folder)
    with tqdm(total=arguments.runs * arguments.epochs, unit="epoch") as bar:
        side_by_side(task, arguments.runs, params.compute, bar)

    rows = []
    for number in range(arguments.runs):
        network = build_member(spec)
        network.load_state_dict(load_file(task.path(number)))
        rows.append(predict(Classifier(spec, [network]), data.images[test], device).mean[:, 1])
    labels = data.labels[test]
    np.savez(arguments.file, labels=labels, probabilities=np.array(rows))
    aucs = [roc_auc_score(labels, row) for row in rows]
    print(f"{arguments.file}: {len(rows)} runs, test AUC {np.mean(aucs):.4f} +- {np.std(aucs, ddof=1):.4f}")


def scaled(augment: Augment, factor: float) -> Augment:
    return augment.replace(**{name: getattr(augment, name) * factor for name in STRENGTHS})


class KeptMemberTask:
    """A `MemberTask` whose weights are kept on disk, so that each member is trained once."""

    def __init__(self, task: MemberTask, folder: Path) -> None:
        self.task, self.folder = task, folder

    def path(self, number: int) -> Path:
        return self.folder / f"{number}.safetensors"

    def __call__(self, number: int, tick: Tick) -> Trained | None:
        if self.path(number).is_file():
            return None
        trained = self.task(number, tick)
        save_file(trained.state, self.path(number))
        return trained


if __name__ == "__main__":
    main()
