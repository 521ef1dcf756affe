"""The effect of bfloat16 on the results: the same trainings in mixed precision and in float32.

    python -m benchmarks.training_precision [--recipe resnet18] [--images 1024] [--epochs 4] [--seeds 3]

Trains each seed twice on IMAGES radiographs of train, drawn at random (after `dvc repro cluster`), with the
settings of the recipe except for epochs and precision, and with the same initialisation and order of
radiographs; val is measured in float32. Trainings diverge from the last digit on, so that the differences
have to be compared with the between-seed SD. Measured with these defaults, bf16 less float32, paired by seed:
AUC -0.0000 +- 0.0016, accuracy -0.0032 +- 0.0077, log loss -0.0007 +- 0.0272. Speed:
benchmarks/training_speed.py.
"""

import argparse
import shutil
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from cxr.core.dataset import load_dataset
from cxr.core.device import configure
from cxr.core.engine import side_by_side
from cxr.core.probabilities import nll
from cxr.models.classifier import Classifier, build_member, predict
from cxr.params import PATH, Params, load_params
from cxr.recipes import switch_to
from cxr.training.member import MemberTask, prepare
from cxr.training.targets import Subclasses, load_subclasses

MEASURES = ("auc", "accuracy", "nll")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="resnet18")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    results = {
        precision: measured(arguments.recipe, arguments.images, arguments.epochs, arguments.seeds, precision)
        for precision in ("bf16", "float32")
    }
    print(f"\n{arguments.recipe}, val, {arguments.seeds} seeds, mean +- standard deviation\n")
    print("| | " + " | ".join(MEASURES) + " |\n|---|" + "---|" * len(MEASURES))
    difference = results["bf16"] - results["float32"]
    for title, values in {**results, "bf16 - float32, paired by seed": difference}.items():
        cells = [f"{statistics.mean(column):.4f} +- {statistics.stdev(column):.4f}" for column in values.T]
        print(f"| {title} | " + " | ".join(cells) + " |")


def settings(recipe: str) -> Params:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(PATH, folder))
        switch_to(recipe, path)
        return load_params(path)


def measured(recipe: str, images: int, epochs: int, seeds: int, precision: str) -> np.ndarray:
    """(seeds, len(MEASURES)) on val."""
    params = settings(recipe)
    train = params.train.replace(members=seeds, epochs=epochs, precision=precision)
    params = params.replace(train=train)
    device = configure(params.compute.device, params.compute.threads)
    data = load_dataset()
    subclasses = load_subclasses(data)
    chosen = np.random.default_rng(0).permutation(len(subclasses.names))[:images]
    rows = data.rows("train")[chosen]
    named = Subclasses.named([subclasses.names[number] for number in chosen])
    spec, targets = prepare(params, data, rows, named, device)
    task = MemberTask(params, spec, targets, rows, device)
    with tqdm(total=seeds * epochs, desc=precision, unit="epoch") as bar:
        trained = side_by_side(task, seeds, params.compute, bar)
    val = data.rows("val")
    labels = data.labels[val]
    table = []
    for member in trained:
        network = build_member(spec)
        network.load_state_dict(member.state)
        classifier = Classifier(replace(spec, members=1), [network])
        p = predict(classifier, data.images[val], device).mean
        table.append([roc_auc_score(labels, p[:, 1]), np.mean(p.argmax(1) == labels), nll(p, labels)])
    return np.array(table)


if __name__ == "__main__":
    main()
