"""Candidates for the default settings, compared on held-out training radiographs; test is never read.

    python -m benchmarks.training_selection PATIENTS

PATIENTS is a CSV file with the columns split, index and patient (such as IM115, N2-IM115, bacteria7), which
is not part of PneumoniaMNIST: it comes from matching its radiographs to Kermany's file names. Val has
patients of train, and the same exposures and framing, so it tells little about other radiographs. Judged are:

conflict   the 15 % of each class of train whose class acquisition features get most wrong (see
           `cxr.evaluation.acquisition`), all left out of training
fold       the radiographs of a tenth of the patients, another tenth for each seed
corrupted  the fold again after the 13 corruptions of MedMNIST-C at severity 4, and magnified .7 and 1.3 times
series     all normal radiographs of the series NORMAL2 (N2), and a third of the pneumonia patients
late       of every series the quarter of patients with the highest numbers

Every candidate (`benchmarks.selection_candidates`) trains one member for EPOCHS epochs without conflict and
fold, and is judged on conflict, fold and corrupted: all of them with one seed, those KEPT and "before" with
two more. The FINALISTS, and "before", then train without series, and without late. The score, decided before
the first run:

    .5 AUC on conflict + .3 mean AUC over the corruptions + .2 AUC on the worst corruption
    for finalists: .4 conflict + .2 corruptions + .1 worst corruption + .15 series + .15 late

Kept, and then finalists, are the candidates with the highest score among those whose AUC on fold, which is as
train, is within one standard error (DeLong) of the best candidate's. Chosen is the finalist with the highest
score; on a tie, the one with the lower log loss on conflict.

Rows are appended to docs/model_selection.csv when they are complete; those that the file has are not computed
again. docs/model_selection.md is the table. Log loss is after temperature scaling on the same radiographs;
specificity is at the threshold that has a sensitivity of .95 there.
"""

import argparse
import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_curve
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from benchmarks.selection_candidates import BEFORE, CANDIDATES, GROUPS_ALIKE, LATER
from benchmarks.selection_table import COLUMNS, ROWS, after_one_seed, finalists, write_table
from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.device import configure
from cxr.core.engine import Tick, side_by_side
from cxr.core.files import read_csv
from cxr.core.probabilities import nll
from cxr.evaluation.acquisition import cross_validated, shortcut_conflicting
from cxr.evaluation.corruptions import KINDS, corrupt
from cxr.evaluation.delong import auc_contributions, case_variance
from cxr.inference.calibration import Calibration, fit_temperature
from cxr.inference.prevalence import class_prevalence
from cxr.models.classifier import Classifier, build_member, predict
from cxr.models.preprocess import to_grey, zoomed
from cxr.params import Params, load_params
from cxr.training.member import MemberTask, prepare
from cxr.training.targets import Subclasses

SEEDS = (0, 1, 2)
EPOCHS = 20
FOLDS = 10
SEVERITY = 4
ZOOMS = (0.7, 1.3)
SAVED = Path("build/selection")  # the probabilities behind each row, in the order of the rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patients", type=Path)
    arguments = parser.parse_args()
    if not ROWS.exists():
        ROWS.write_text(",".join(COLUMNS) + "\n")
    material = Material(arguments.patients)
    train_all([Training(name, "conflict", SEEDS[0], material) for name in CANDIDATES])
    kept = after_one_seed(read_csv(ROWS))
    train_all([Training(name, "conflict", seed, material) for name in kept for seed in SEEDS[1:]])
    train_all([Training(name, "conflict", SEEDS[0], material) for name in LATER])
    kept = after_one_seed(read_csv(ROWS))
    train_all([Training(name, "conflict", seed, material) for name in kept for seed in SEEDS[1:]])
    compared = dict.fromkeys([*finalists(read_csv(ROWS)), "before"])
    last = [(name, part) for name in compared for part in ("series", "late")]
    train_all([Training(name, part, seed, material) for name, part in last for seed in SEEDS])
    print(write_table())


def train_all(trainings: "list[Training]") -> None:
    done = {(row["candidate"], row["part"], int(row["seed"])) for row in read_csv(ROWS)}
    missing = [each for each in trainings if (each.name, each.part, each.seed) not in done]
    with tqdm(total=len(missing), desc="trainings", disable=None) as bar:
        side_by_side(partial(run, missing), len(missing), load_params().compute, bar)


class Material:
    """patients: (n,) str, of the training radiographs, in the order of `rows`. labels: (n,) int, 1 is
    pneumonia. right: (n,) float in [0, 1], the probability of its own class by acquisition features."""

    def __init__(self, table: Path) -> None:
        data = load_dataset()
        self.rows = data.rows("train")
        self.labels = data.labels[self.rows]
        self.patients = patients_of(self.rows, table)
        self.right = cross_validated(data.images[self.rows], self.labels, self.patients)
        self.conflict = shortcut_conflicting(self.right, self.labels)

    def divide(self, part: str, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """(n,) bool of the radiographs to train on, and of each set that is judged."""
        if part != "conflict":
            inside = self.held_out()[part]
            return ~np.isin(self.patients, self.patients[inside]), {part: inside}
        splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
        folds = [test for _, test in splitter.split(self.labels, self.labels, self.patients)]
        in_fold = np.zeros(len(self.rows), bool)
        in_fold[folds[seed]] = True
        sets = {"conflict": self.conflict, "fold": in_fold}
        return ~self.conflict & ~in_fold, sets

    def held_out(self) -> dict[str, np.ndarray]:
        thirds = StratifiedGroupKFold(3, shuffle=True, random_state=0)
        third = np.zeros(len(self.labels), bool)
        third[next(iter(thirds.split(self.labels, self.labels, self.patients)))[1]] = True
        numbers = defaultdict(list)  # of patients, by series
        for patient in sorted(set(self.patients)):
            series, number = split_name(patient)
            numbers[series].append(number)
        upper_quartile = {series: np.quantile(values, 0.75) for series, values in numbers.items()}
        named = [split_name(patient) for patient in self.patients]
        return {
            "series": np.array([s.startswith("N2") for s, _ in named]) | (third & (self.labels == 1)),
            "late": np.array([s != "radiograph" and number > upper_quartile[s] for s, number in named]),
        }


def patients_of(rows: np.ndarray, table: Path) -> np.ndarray:
    """(n,) str, the patient of each radiograph; one whose patient is unknown is a patient of its own."""
    sources = [row["source"] for row in read_csv(dataset.LABELS)]
    known = {f"{row['split']}/{row['index']}": row["patient"] for row in read_csv(table) if row["patient"]}
    return np.array([known.get("/".join(sources[row].split("/")[1:]), f"radiograph{row}") for row in rows])


def split_name(patient: str) -> tuple[str, int]:
    """("N2-IM", 115) of N2-IM115."""
    match = re.fullmatch(r"(.*?)(\d+)", patient)
    assert match, patient
    return match[1], int(match[2])


def changed(params: Params, changes: Mapping[str, Mapping[str, Any]]) -> Params:
    sections = {name: getattr(params, name).replace(**values) for name, values in changes.items()}
    return params.replace(**sections)


@dataclass(frozen=True)
class Training:
    name: str
    part: str
    seed: int
    material: Material


def run(trainings: list[Training], number: int, tick: Tick) -> None:
    """Train and judge `trainings[number]`, and append its rows."""
    training = trainings[number]
    rows = list(train_and_judge(training))
    with ROWS.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for judged, tta, measures in rows:
            numbers = [f"{value:.5f}" for value in measures]
            writer.writerow([training.name, training.part, training.seed, judged, tta, *numbers])
    tick()


def train_and_judge(training: Training) -> Iterator[tuple[str, str, list[float]]]:
    """What is judged, the test-time augmentation, and `measures`."""
    params = changed(changed(load_params(), BEFORE), (CANDIDATES | LATER)[training.name])
    params = params.replace(seed=training.seed, train=params.train.replace(epochs=EPOCHS))
    device = configure(params.compute.device, params.compute.threads)
    data, material = load_dataset(), training.material
    chosen, sets = material.divide(training.part, training.seed)
    rows = material.rows[chosen]
    right, labels = material.right[chosen], material.labels[chosen]
    names = np.array(data.classes)[labels].tolist()
    subclasses = Subclasses(names, shortcut_conflicting(right, labels))
    spec, targets = prepare(params, data, rows, subclasses, device)
    if training.name in GROUPS_ALIKE:
        groups = 2 * labels + (right > 0.5)
        targets = replace(targets, sampling=1 / np.bincount(groups)[groups] / 4)
    trained = MemberTask(params, spec, targets, rows, device)(0, lambda: None)
    network = build_member(spec)
    network.load_state_dict(trained.state)
    saved: list[np.ndarray] = []

    def judge(images: np.ndarray, labels: np.ndarray, tta: str) -> list[float]:
        model = Classifier(replace(spec, tta=tta, members=1), [network])
        with torch.autocast(device.type, torch.bfloat16):
            probabilities = predict(model, images, device).mean
        saved.append(np.column_stack([probabilities[:, 1], labels]))
        return measures(probabilities, labels, spec.prior)

    of_sets = {judged: material.rows[inside] for judged, inside in sets.items()} | {"val": data.rows("val")}
    for judged, members in of_sets.items():
        images, labels = data.images[members], data.labels[members]
        for tta in ("flip", "flip_zoom"):
            yield judged, tta, judge(images, labels, tta)
        if judged == "fold":
            for kind in KINDS:
                yield kind, "flip", judge(corrupt(images, kind, SEVERITY), labels, "flip")
            for zoom in ZOOMS:
                grey = zoomed(to_grey(torch.from_numpy(np.array(images))), zoom)
                magnified = (255 * grey.squeeze(1)).round().to(torch.uint8).numpy()
                yield f"zoom {zoom}", "flip", judge(magnified, labels, "flip")

    SAVED.mkdir(parents=True, exist_ok=True)
    path = saved_path(training.name, training.part, training.seed)
    np.save(path, np.concatenate(saved).astype(np.float32))


def saved_path(candidate: str, part: str, seed: int) -> Path:
    return SAVED / (re.sub(r"\W+", "_", f"{candidate} {part} {seed}") + ".npy")


def measures(probabilities: np.ndarray, labels: np.ndarray, prior: list[float]) -> list[float]:
    """AUC, its DeLong standard error, log loss after temperature scaling at the prevalence of these images,
    specificity at a sensitivity of .95. probabilities: (N, 2). prior: as in `Calibration`."""
    positive = labels == 1
    of_auc = auc_contributions(positive[:, None], probabilities[None, :, 1:])
    error = float(np.sqrt(case_variance(of_auc.images, labels))[0])
    prevalence = class_prevalence(labels, 2).tolist()
    temperature = fit_temperature(probabilities, labels, prior, prevalence)
    scaled = Calibration(temperature, None, prior, prevalence)(probabilities)
    false_positive, true_positive, _ = roc_curve(positive, probabilities[:, 1])
    specificity = 1 - false_positive[true_positive >= 0.95].min()
    return [float(of_auc.values[0]), error, nll(scaled, labels), float(specificity)]


if __name__ == "__main__":
    main()
