"""Candidates for the default settings, compared on radiographs held out of train; test is never read.

    python -m benchmarks.training_search PATIENTS

PATIENTS is a CSV file with the columns split, index and patient (such as IM115, N2-IM115, bacteria7), which
is not part of PneumoniaMNIST: it comes from matching its radiographs to Kermany's file names. Val has
patients of train and so tells little about new patients. Therefore two parts of train, of whole patients, are
held out in turn that differ from the rest as a new set of radiographs may differ:

series  all normal radiographs of the series NORMAL2 (N2), and a third of the pneumonia patients
late    of every series the quarter of patients with the highest numbers

Every variant below trains one member for EPOCHS epochs on the rest. Its rows, one for each kind of test-time
augmentation, are appended to docs/model_search.csv when they are complete; variants that the file has are not
trained again. docs/model_search.md is the table. Balanced accuracy is at a threshold of 0.5, log loss after
temperature scaling.
"""

import argparse
import csv
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
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
TTA = ("none", "flip", "flip_zoom")
MEASURES = ("auc", "balanced_accuracy", "nll")
COLUMNS = ("variant", "held_out", "tta", *MEASURES, *(f"val_{name}" for name in MEASURES))

# Changes to params.yaml by section. "before" is the default at the beginning of this search.
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
    trainings = [
        Training(name, part, changed(params, changes), *divide(train, patients, inside))
        for name, changes in VARIANTS.items()
        for part, inside in held_out(data.labels[train], patients).items()
        if (name, part) not in done
    ]
    with tqdm(total=len(trainings), desc="trainings", disable=None) as bar:
        side_by_side(partial(run, trainings), len(trainings), params.compute.threads, 1, bar)
    TABLE.write_text(table(), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


def patients_of(data: dataset.Dataset, train: np.ndarray, table: Path) -> np.ndarray:
    """(n,) str, the patient of each training radiograph; one whose patient is unknown is a patient of its
    own."""
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
    upper_quartile = {series: np.quantile(values, 0.75) for series, values in numbers.items()}
    named = [split_name(patient) for patient in patients]
    return {
        "series": np.array([s.startswith("N2") for s, _ in named]) | (third & (labels == 1)),
        "late": np.array([s != "image" and number > upper_quartile[s] for s, number in named]),
    }


def split_name(patient: str) -> tuple[str, int]:
    """("N2-IM", 115) of N2-IM115."""
    match = re.fullmatch(r"(.*?)(\d+)", patient)
    assert match, patient
    return match[1], int(match[2])


def divide(train: np.ndarray, patients: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on, without any patient that is held out, and rows held out."""
    excluded = np.isin(patients, patients[inside])
    return train[~excluded], train[inside]


def changed(params: Params, changes: Mapping[str, Mapping[str, Any]]) -> Params:
    sections = {name: getattr(params, name).replace(**values) for name, values in changes.items()}
    return params.replace(**sections)


@dataclass(frozen=True)
class Training:
    variant: str
    part: str
    params: Params
    train: np.ndarray
    held_out: np.ndarray


def run(trainings: list[Training], number: int, tick: Tick) -> None:
    """Train and evaluate `trainings[number]`, and append its rows."""
    training = trainings[number]
    with_tta = train_and_evaluate(training)
    with ROWS.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for tta, values in with_tta.items():
            writer.writerow([training.variant, training.part, tta, *(f"{value:.5f}" for value in values)])
    tick()


def train_and_evaluate(training: Training) -> dict[str, list[float]]:
    """For each of `TTA` the measures on the radiographs held out, then on val."""
    params = training.params.replace(train=training.params.train.replace(epochs=EPOCHS))
    device = configure(params.compute.device, threads=1)
    data = load_dataset()
    names = np.array(data.classes)[data.labels[training.train]].tolist()
    spec, targets = prepare(params, data, training.train, names)
    trained = MemberTask(params, spec, targets, training.train, device)(0, lambda: None)
    network = build_member(spec)
    network.load_state_dict(trained.state)
    measures: dict[str, list[float]] = {tta: [] for tta in TTA}
    for tta, values in measures.items():
        model = Classifier(replace(spec, tta=tta, members=1), [network])
        for rows in (training.held_out, data.rows("val")):
            labels = data.labels[rows]
            with torch.autocast(device.type, torch.bfloat16):
                p = predict(model, data.images[rows], device).mean
            scaled = Calibration(fit_temperature(p, labels), None)(p)
            balanced = balanced_accuracy_score(labels, p.argmax(axis=1))
            values += [float(roc_auc_score(labels, p[:, 1])), float(balanced), nll(scaled, labels)]
    return measures


def table() -> str:
    """All variants with flip_zoom, the first two with less test-time augmentation as well."""
    rows = read_csv(ROWS)
    titles = [f"{part} {name}" for part in PARTS for name in ("AUC", "balanced accuracy", "log loss")]
    lines = [
        "Written by `python -m benchmarks.training_search PATIENTS`; its docstring defines `series` and",
        f"`late`. Member 0 of the seed in params.yaml for {EPOCHS} epochs each: no between-seed SD.",
        "Test-time augmentation: none, the mirror image (flip), or both at three magnifications (flip_zoom).",
        "",
        "| variant | augmentation | " + " | ".join([*titles, "val AUC", "val log loss"]) + " |",
        "|---|---|" + "---|" * 8,
    ]
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    for variant in variants:
        for tta in TTA if variant in variants[:2] else TTA[-1:]:
            selected = [row for row in rows if row["variant"] == variant and row["tta"] == tta]
            of_part = {row["held_out"]: row for row in selected}
            cells = [f"{float(of_part[part][name]):.4f}" for part in PARTS for name in MEASURES]
            val = [np.mean([float(row[f"val_{name}"]) for row in selected]) for name in ("auc", "nll")]
            cells = [variant, tta, *cells, *(f"{value:.4f}" for value in val)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
