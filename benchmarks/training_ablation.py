"""What do class weights and class decomposition change? All strategies on the same radiographs with the same
seeds.

    python -m benchmarks.training_ablation

Trains MEMBERS members of every strategy on the pipeline's train split (`dvc repro cluster` makes what is
needed), as params.yaml says but for the strategy and EPOCHS epochs, so that it takes less than an hour; keeps
their weights in build/ablation, so that a killed run goes on where it was. Only when every member is there,
val and test are described, test once for all of them. docs/ablation.csv has a row for each member,
docs/ablation.md the tables: member i of two strategies shares seed, batch order and cases, so differences to
"none" are paired by member.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from scipy import stats
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from cxr.core.dataset import Dataset, load_dataset
from cxr.core.device import configure
from cxr.core.files import read_csv, write_csv
from cxr.core.probabilities import nll
from cxr.embeddings.subclasses import chosen_classes, find_clusters
from cxr.inference.calibration import Calibration, fit_temperature
from cxr.models.classifier import Classifier, Spec, build_member, predict
from cxr.params import Params, load_params
from cxr.training.member import MemberTask, prepare
from cxr.training.parallel import Tick, side_by_side
from cxr.training.targets import Targets

MEMBERS = 5
EPOCHS = 8
KEPT = Path("build/ablation")
ROWS = Path("docs/ablation.csv")
TABLE = Path("docs/ablation.md")
MEASURES = ("nll", "auc", "accuracy", "sensitivity", "specificity")
COLUMNS = ("strategy", "member", *(f"{split}_{name}" for split in ("val", "test") for name in MEASURES))


@dataclass(frozen=True)
class Strategy:
    """strategy: as `imbalance.strategy`. split: the classes to decompose, as `cluster.classes`."""

    strategy: str
    split: str | list[str] = "majority"
    k: int = 2

    @property
    def name(self) -> str:
        if self.strategy in ("none", "class_weights"):
            return self.strategy
        what = self.split if isinstance(self.split, str) else " and ".join(self.split)
        return f"{self.strategy}, {what}, k={self.k}"


def strategies(data: Dataset) -> list[Strategy]:
    """No decomposition, then every decomposition without and with class weights."""
    decompositions = [
        Strategy(strategy, split, k)
        for strategy in ("decompose", "both")
        for split in ("majority", [data.classes[0]], "all")
        for k in (2, 3)
    ]
    return [Strategy("none"), Strategy("class_weights"), *decompositions]


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = load_params()
    data = load_dataset()
    KEPT.mkdir(parents=True, exist_ok=True)
    plans = [plan(params, data, strategy) for strategy in strategies(data)]
    # Member by member, so that a run stopped early has as many members of every strategy.
    jobs = [Job(plan, member) for member in range(MEMBERS) for plan in plans]
    missing = [job for job in jobs if not job.weights.exists()]
    with tqdm(total=len(missing), desc="trainings", disable=None) as bar:
        side_by_side(Queue(missing), len(missing), params.compute.threads, 1, bar)
    rows = [(job.plan.name, job.member, *describe(job, data)) for job in jobs]
    write_csv(ROWS, COLUMNS, rows)
    TABLE.write_text(table(), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Plan:
    name: str
    params: Params
    spec: Spec
    targets: Targets


def plan(params: Params, data: Dataset, strategy: Strategy) -> Plan:
    params = params.replace(
        imbalance=params.imbalance.replace(strategy=strategy.strategy),
        train=params.train.replace(epochs=EPOCHS),
    )
    train = data.rows("train")
    names = subclasses(params, data, strategy)
    return Plan(strategy.name, params, *prepare(params, data, train, names))


def subclasses(params: Params, data: Dataset, strategy: Strategy) -> list[str]:
    """The sub-class of each training radiograph, as the cluster stage would name it."""
    train = data.rows("train")
    labels, points = data.labels[train], np.load("data/embeddings.npy")[train]
    names = np.array(data.classes)[labels].astype(object)
    for name in chosen_classes(strategy.split, labels, data.classes):
        inside = labels == data.classes.index(name)
        with threadpool_limits(1):
            found = find_clusters(points[inside], strategy.k, strategy.k, params.seed)
        names[inside] = [f"{name}_{number}" for number in found.assignment]
    return names.tolist()


@dataclass(frozen=True)
class Job:
    plan: Plan
    member: int

    @property
    def weights(self) -> Path:
        return KEPT / f"{self.plan.name.replace(', ', '-')}-{self.member}.safetensors"


@dataclass(frozen=True)
class Queue:
    jobs: list[Job]

    def __call__(self, number: int, tick: Tick) -> None:
        job = self.jobs[number]
        plan = job.plan
        device = configure(plan.params.compute.device, threads=1)
        rows = load_dataset().rows("train")
        trained = MemberTask(plan.params, plan.spec, plan.targets, rows, device)(job.member, lambda: None)
        unfinished = job.weights.with_suffix(".part")
        save_file(trained.state, unfinished)
        unfinished.replace(job.weights)
        tick()


def describe(job: Job, data: Dataset) -> list[float]:
    """Val and test, both at the temperature that fits val, decided for the more probable class."""
    network = build_member(job.plan.spec)
    network.load_state_dict(load_file(job.weights))
    model = Classifier(job.plan.spec, [network])
    device = configure(job.plan.params.compute.device, job.plan.params.compute.threads)
    values: list[float] = []
    calibrate = None
    for split in ("val", "test"):
        rows = data.rows(split)
        labels = data.labels[rows]
        p = predict(model, data.images[rows], device).mean
        calibrate = calibrate or Calibration(fit_temperature(p, labels), None)
        p = calibrate(p)
        right = p.argmax(axis=1) == labels
        values += [
            nll(p, labels),
            float(roc_auc_score(labels, p[:, 1])),
            float(right.mean()),
            float(right[labels == 1].mean()),
            float(right[labels == 0].mean()),
        ]
    return values


def table() -> str:
    """Means and standard deviations over members, and paired differences to "none" with 95 % t-intervals."""
    rows = read_csv(ROWS)
    names = list(dict.fromkeys(row["strategy"] for row in rows))

    def column(name: str, measure: str) -> np.ndarray:
        return np.array([float(row[measure]) for row in rows if row["strategy"] == name])

    def variability(name: str, measure: str) -> str:
        values = column(name, measure)
        return f"{values.mean():.4f} ± {values.std(ddof=1):.4f}"

    def difference(name: str, measure: str) -> str:
        if name == "none":
            return ""
        values = column(name, measure) - column("none", measure)
        half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        return f"{values.mean():+.4f} ± {half:.4f}"

    def lines(measures: dict[str, str], cell: Callable[[str, str], str]) -> list[str]:
        return [
            "| strategy | " + " | ".join(measures) + " |",
            "|---|" + "---|" * len(measures),
            *(f"| {name} | " + " | ".join(cell(name, m) for m in measures.values()) + " |" for name in names),
        ]

    shown = {
        "val log loss": "val_nll",
        "val AUC": "val_auc",
        "val accuracy": "val_accuracy",
        "test log loss": "test_nll",
        "test AUC": "test_auc",
        "test accuracy": "test_accuracy",
        "test sensitivity": "test_sensitivity",
        "test specificity": "test_specificity",
    }
    return "\n".join(
        [
            "Written by `python -m benchmarks.training_ablation`: "
            f"{EPOCHS} epochs, members 0 to {MEMBERS - 1} of the",
            "seed in params.yaml. Mean ± standard deviation over these members, single models.",
            "",
            *lines(shown, variability),
            "",
            "Difference to `none`, paired by member: mean ± half of the 95 % t-interval over members.",
            "",
            *lines(shown, difference),
            "",
        ]
    )


if __name__ == "__main__":
    main()
