"""Which default is better? Judged on radiographs held out of the training split; test is never read.

    python -m benchmarks.training_search PATIENTS

PATIENTS is a CSV file with the columns split, index and patient (such as IM115, N2-IM115, bacteria7), which
is not part of PneumoniaMNIST: it comes from matching its radiographs to Kermany's file names. Val shares
patients with train and says little about new ones, so two parts of train are held out in turn, whole patients
at a time, that differ from the rest as a new set of radiographs may differ:

series  all normal radiographs of the series NORMAL2 (N2), and a third of the pneumonia patients
late    of every series the quarter of patients with the highest numbers

Every variant below trains one member for EPOCHS epochs on what is left. Its rows, one for each kind of
test-time views, are appended to docs/model_search.csv as soon as they are known, and what the file has
already is not trained again; docs/model_search.md is the table. Balanced accuracy is taken at 0.5, log loss
after temperature scaling.
"""

import argparse
import csv
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.device import configure
from cxr.core.files import read_csv
from cxr.core.probabilities import nll
from cxr.inference.calibration import Calibration, fit_temperature
from cxr.models.classifier import Classifier, build_member, predict
from cxr.params import Params, load_params
from cxr.training.member import MemberTask, prepare
from cxr.training.parallel import Tick, side_by_side

ROWS = Path("docs/model_search.csv")
TABLE = Path("docs/model_search.md")
PARTS = ("series", "late")
EPOCHS = 16
VIEWS = ("none", "flip", "flip_zoom")
MEASURES = ("auc", "balanced_accuracy", "nll")
COLUMNS = ("variant", "held_out", "tta", *MEASURES, *(f"val_{name}" for name in MEASURES))

# Changes to params.yaml, section by section. "before" is the default that this search set out from.
BEFORE: dict[str, dict[str, Any]] = {
    "imbalance": {"strategy": "class_weights"},
    "augment": {
        "rotation": 10.0,
        "scale": 0.15,
        "shift": 0.1,
        "gamma": 0.2,
        "contrast": 0.2,
        "brightness": 0.1,
    },
    "model": {"dropout": 0.3},
    "train": {"mixup": 0.0, "label_smoothing": 0.05, "lr": 0.003},
}
PLAIN = {"imbalance": {"strategy": "none"}}
VARIANTS: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "before": {},
    "no class weights": PLAIN,
    "no class weights, mixup 0.3": PLAIN | {"train": {"mixup": 0.3}},
    "no class weights, weaker geometry": PLAIN | {"augment": {"scale": 0.1, "shift": 0.06}},
    "no class weights, stronger geometry": PLAIN
    | {"augment": {"rotation": 15.0, "scale": 0.25, "shift": 0.12}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patients", type=Path)
    arguments = parser.parse_args()
    params = changed(load_params(), BEFORE)
    data = load_dataset()
    train = data.rows("train")
    patients = patients_of(data, train, arguments.patients)
    if not ROWS.exists():
        ROWS.write_text(",".join(COLUMNS) + "\n")
    done = {(row["variant"], row["held_out"]) for row in read_csv(ROWS)}
    jobs = [
        Job(name, part, changed(params, changes), *divide(train, patients, inside))
        for name, changes in VARIANTS.items()
        for part, inside in held_out(data.labels[train], patients).items()
        if (name, part) not in done
    ]
    with tqdm(total=len(jobs), desc="trainings", disable=None) as bar:
        side_by_side(Queue(jobs), len(jobs), params.compute.threads, 1, bar)
    TABLE.write_text(table(), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


def patients_of(data: dataset.Dataset, train: np.ndarray, table: Path) -> np.ndarray:
    """(n,) the patient of each training radiograph; one that is not known stands for itself."""
    sources = [row["source"] for row in read_csv(dataset.LABELS)]
    known = {f"{row['split']}/{row['index']}": row["patient"] for row in read_csv(table) if row["patient"]}
    return np.array([known.get("/".join(sources[row].split("/")[1:]), f"radiograph{row}") for row in train])


def held_out(labels: np.ndarray, patients: np.ndarray) -> dict[str, np.ndarray]:
    """(n,) bool for each of `PARTS`. labels: (n,) int, 1 is pneumonia."""
    thirds = StratifiedGroupKFold(3, shuffle=True, random_state=0).split(labels, labels, patients)
    third = np.zeros(len(labels), bool)
    third[next(iter(thirds))[1]] = True
    numbers = defaultdict(list)  # of patients, by series
    for patient in sorted(set(patients)):
        series, number = split_name(patient)
        numbers[series].append(number)
    border = {series: np.quantile(found, 0.75) for series, found in numbers.items()}
    named = [split_name(patient) for patient in patients]
    return {
        "series": np.array([s.startswith("N2") for s, _ in named]) | (third & (labels == 1)),
        "late": np.array([s != "image" and number > border[s] for s, number in named]),
    }


def split_name(patient: str) -> tuple[str, int]:
    """("N2-IM", 115) of N2-IM115."""
    match = re.fullmatch(r"(.*?)(\d+)", patient)
    assert match, patient
    return match[1], int(match[2])


def divide(train: np.ndarray, patients: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on, none of a patient that is held out, and rows held out."""
    away = np.isin(patients, patients[inside])
    return train[~away], train[inside]


def changed(params: Params, changes: Mapping[str, Mapping[str, Any]]) -> Params:
    sections = {name: getattr(params, name).replace(**values) for name, values in changes.items()}
    return params.replace(**sections)


@dataclass(frozen=True)
class Job:
    variant: str
    part: str
    params: Params
    train: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True)
class Queue:
    jobs: list[Job]

    def __call__(self, number: int, tick: Tick) -> None:
        job = self.jobs[number]
        found = measure(job)
        with ROWS.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for tta, values in found.items():
                writer.writerow([job.variant, job.part, tta, *(f"{value:.5f}" for value in values)])
        tick()


def measure(job: Job) -> dict[str, list[float]]:
    """For each of `VIEWS` the measures on the radiographs held out, then on val."""
    params = job.params.replace(train=job.params.train.replace(epochs=EPOCHS))
    device = configure(params.compute.device, threads=1)
    data = load_dataset()
    names = np.array(data.classes)[data.labels[job.train]].tolist()
    spec, targets = prepare(params, data, job.train, names)
    trained = MemberTask(params, spec, targets, job.train, device)(0, lambda: None)
    network = build_member(spec)
    network.load_state_dict(trained.state)
    found: dict[str, list[float]] = {tta: [] for tta in VIEWS}
    for tta, values in found.items():
        model = Classifier(replace(spec, tta=tta, members=1), [network])
        for rows in (job.held_out, data.rows("val")):
            labels = data.labels[rows]
            with torch.autocast(device.type, torch.bfloat16):
                p = predict(model, data.images[rows], device).mean
            scaled = Calibration(fit_temperature(p, labels), None)(p)
            balanced = balanced_accuracy_score(labels, p.argmax(axis=1))
            values += [float(roc_auc_score(labels, p[:, 1])), float(balanced), nll(scaled, labels)]
    return found


def table() -> str:
    """All variants with the most views, the first one with fewer as well."""
    rows = read_csv(ROWS)
    titles = [f"{part} {name}" for part in PARTS for name in ("AUC", "balanced accuracy", "log loss")]
    lines = [
        "Written by `python -m benchmarks.training_search PATIENTS`; its docstring tells `series` and",
        f"`late`. Member 0 of the seed in params.yaml for {EPOCHS} epochs each: no spread over seeds. Views",
        "averaged at test time: none, the mirror image (flip), or both at three zooms (flip_zoom).",
        "",
        "| variant | views | " + " | ".join([*titles, "val AUC", "val log loss"]) + " |",
        "|---|---|" + "---|" * 8,
    ]
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    for variant in variants:
        for tta in VIEWS if variant in variants[:2] else VIEWS[-1:]:
            mine = [row for row in rows if row["variant"] == variant and row["tta"] == tta]
            of_part = {row["held_out"]: row for row in mine}
            cells = [f"{float(of_part[part][name]):.4f}" for part in PARTS for name in MEASURES]
            val = [np.mean([float(row[f"val_{name}"]) for row in mine]) for name in ("auc", "nll")]
            cells = [variant, tta, *cells, *(f"{value:.4f}" for value in val)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
