"""Which default is better? Cross-validation inside the training split; test is never read.

    python -m benchmarks.model_search docs/model_search.csv [--patients FILE]

Trains every variant below on two thirds of the training films and predicts the other third, three times.
Val shares patients with train in PneumoniaMNIST, so with a table of patients (columns split, index, patient)
folds keep patients together and say more about new patients than val can. The columns `shifted_*` are means
over the same held-out films zoomed, re-exposed and moved (`SHIFTS`): a new hospital frames and exposes
differently, and a model that leans on framing or exposure shows it here. A row for each variant and fold is
appended as soon as it is known; what the file has already is not trained again.
"""

import argparse
import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from cxr import runtime
from cxr.calibration import Calibration, fit_temperature, nll
from cxr.data import packed
from cxr.files import read_csv
from cxr.members import MemberTask, prepare
from cxr.models.classifier import Classifier, build_member, predict
from cxr.parallel import Tick, side_by_side
from cxr.params import Params, load

FOLDS = 3
MEASURES = ("auc", "accuracy", "nll", "shifted_auc", "shifted_accuracy", "val_auc", "val_accuracy", "val_nll")
COLUMNS = ("variant", "fold", *MEASURES)

# Changes to params.yaml, section by section.
GEOMETRY = {"rotation": 15.0, "scale": 0.2, "shift": 0.1}
INTENSITY = {"gamma": 0.4, "contrast": 0.4, "brightness": 0.2}
VARIANTS: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "default": {},
    "geometry": {"augment": GEOMETRY},
    "intensity": {"augment": INTENSITY},
    "both": {"augment": GEOMETRY | INTENSITY},
    "both + erasing": {"augment": GEOMETRY | INTENSITY | {"erasing": 0.4}},
    "both + noise": {"augment": GEOMETRY | INTENSITY | {"noise": 0.05}},
    "both, lr 0.006": {"augment": GEOMETRY | INTENSITY, "train": {"lr": 0.006}},
    "both, dropout 0.5": {"augment": GEOMETRY | INTENSITY, "model": {"dropout": 0.5}},
}
# (zoom, right, down, gamma, contrast) of one look at the held-out films
SHIFTS = (
    (1.25, 0.0, 0.0, 1.0, 1.0),
    (0.8, 0.0, 0.0, 1.0, 1.0),
    (1.0, 0.1, 0.1, 1.0, 1.0),
    (1.0, 0.0, 0.0, 1.5, 1.0),
    (1.0, 0.0, 0.0, 0.67, 1.0),
    (1.0, 0.0, 0.0, 1.0, 0.6),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--patients", type=Path)
    arguments = parser.parse_args()
    params = load()
    data = packed.load()
    train = data.rows("train")
    groups = patients(data, train, arguments.patients)
    folds = list(
        StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(train, data.labels[train], groups)
    )
    done = (
        {(row["variant"], row["fold"]) for row in read_csv(arguments.table)}
        if arguments.table.exists()
        else set()
    )
    jobs = [
        Job(name, number, changed(params, changes), train[seen], train[held_out], arguments.table)
        for name, changes in VARIANTS.items()
        for number, (seen, held_out) in enumerate(folds)
        if (name, str(number)) not in done
    ]
    if not arguments.table.exists():
        arguments.table.write_text(",".join(COLUMNS) + "\n")
    with tqdm(total=len(jobs), desc="trainings", disable=None) as bar:
        side_by_side(Queue(jobs), len(jobs), params.compute.threads, 1, bar)
    summarise(arguments.table)


def patients(data: packed.Packed, train: np.ndarray, table: Path | None) -> np.ndarray:
    """(n,) group of each training film: its patient, or the film itself where that is not known."""
    sources = [row["source"] for row in read_csv(packed.LABELS)]
    known = {}
    if table:
        known = {
            f"{row['split']}/{row['index']}": row["patient"] for row in read_csv(table) if row["patient"]
        }
    return np.array([known.get("/".join(sources[row].split("/")[1:]), f"film {row}") for row in train])


def changed(params: Params, changes: Mapping[str, Mapping[str, Any]]) -> Params:
    sections = {name: replace(getattr(params, name), **values) for name, values in changes.items()}
    return replace(params, **sections)


@dataclass(frozen=True)
class Job:
    variant: str
    fold: int
    params: Params
    train: np.ndarray
    held_out: np.ndarray
    table: Path


@dataclass(frozen=True)
class Queue:
    jobs: list[Job]

    def __call__(self, number: int, tick: Tick) -> None:
        job = self.jobs[number]
        values = measure(job)
        with job.table.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(
                [job.variant, job.fold, *(f"{values[name]:.5f}" for name in MEASURES)]
            )
        tick()


def measure(job: Job) -> dict[str, float]:
    params = job.params
    device = runtime.configure(replace(params.compute, threads=1))
    data = packed.load()
    names = np.array(data.classes)[data.labels[job.train]].tolist()
    spec, targets = prepare(params, data, job.train, names)
    trained = MemberTask(params, spec, targets, job.train, device)(job.fold, lambda: None)
    network = build_member(spec)
    network.load_state_dict(trained.state)
    model = Classifier(spec, [network])

    def look(images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        p = predict(model, images, device).mean
        scaled = Calibration(fit_temperature(p, labels), None)(p)
        return {
            "auc": float(roc_auc_score(labels, p[:, 1])),
            "accuracy": float(np.mean(p.argmax(axis=1) == labels)),
            "nll": nll(scaled, labels),
        }

    held_out, labels = data.images[job.held_out], data.labels[job.held_out]
    val = data.rows("val")
    shifted = [look(shift(held_out, *settings), labels) for settings in SHIFTS]
    return (
        look(held_out, labels)
        | {f"shifted_{name}": float(np.mean([one[name] for one in shifted])) for name in ("auc", "accuracy")}
        | {f"val_{name}": value for name, value in look(data.images[val], data.labels[val]).items()}
    )


def shift(
    images: np.ndarray, zoom: float, right: float, down: float, gamma: float, contrast: float
) -> np.ndarray:
    """(N, H, W) uint8 films as another machine might have framed and exposed them."""
    grey = torch.from_numpy(images).unsqueeze(1).float() / 255
    theta = torch.tensor([[1 / zoom, 0, 2 * right], [0, 1 / zoom, 2 * down]]).expand(len(grey), 2, 3)
    grid = F.affine_grid(theta, list(grey.shape), align_corners=False)
    grey = F.grid_sample(grey, grid, padding_mode="border", align_corners=False).clamp(1e-6, 1) ** gamma
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    grey = ((grey - mean) * contrast + mean).clamp(0, 1)
    return (grey * 255).round().to(torch.uint8).squeeze(1).numpy()


def summarise(table: Path) -> None:
    rows = read_csv(table)
    print(f"{'variant':24}" + "".join(f"{name:>18}" for name in MEASURES))
    for variant in dict.fromkeys(row["variant"] for row in rows):
        mine = [row for row in rows if row["variant"] == variant]
        values = (np.mean([float(row[name]) for row in mine]) for name in MEASURES)
        print(f"{variant:24}" + "".join(f"{value:18.4f}" for value in values))


if __name__ == "__main__":
    main()
