"""Class weights and class decomposition: all strategies on the same radiographs with the same seeds.

    python -m benchmarks.training_ablation                  # docs/ablation.*
    python -m benchmarks.training_ablation --clip NAME      # docs/ablation_clip.*, make ablation-clip
    python -m benchmarks.training_ablation --table          # the tables alone, from the committed rows

Trains MEMBERS members of every strategy on the train split of the pipeline (after `dvc repro cluster`), with
the settings of params.yaml except for the strategy and EPOCHS epochs, so that it takes less than an hour;
keeps their weights in build/ablation, so that a killed run continues. Sub-classes are those of
data/embeddings.npy, with --clip those of a published encoder, named as in `clip_embed.encoder`. Only after
all trainings are val and test evaluated, test once for all of them. docs/ablation.csv has a row for each
member, docs/ablation.md the tables: member i of two strategies has the same seed, batch order and cases, so
that differences to "none" are paired by member.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from scipy import stats
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from cxr.core.dataset import Dataset, load_dataset
from cxr.core.device import configure
from cxr.core.engine import Tick, side_by_side
from cxr.core.files import read_csv, write_csv
from cxr.core.probabilities import nll
from cxr.embeddings.encoders.embed import embed_dataset
from cxr.embeddings.subclasses import chosen_classes, find_clusters
from cxr.inference.calibration import Calibration, fit_temperature
from cxr.models.classifier import Classifier, Spec, build_member, predict
from cxr.params import Params, load_params
from cxr.training.member import MemberTask, prepare
from cxr.training.targets import Subclasses, Targets

MEMBERS = 5
EPOCHS = 8
KEPT = Path("build/ablation")
CLIP = "openai/clip-vit-base-patch32"
MEASURES = ("nll", "auc", "accuracy", "sensitivity", "specificity")
NOT_RUN = f"""\
Not run yet: the weights of `{CLIP}` were unavailable. Where the Hugging Face hub can be
reached, or where CXR_MIRROR has them, `make ablation-clip` writes the table of [ablation.md](ablation.md) for
sub-classes of CLIP embeddings to this page, and its rows to ablation_clip.csv, in about an hour.
"""
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


@dataclass(frozen=True)
class Files:
    """clip: whether the embeddings are those of a published encoder."""

    clip: bool

    @property
    def kept(self) -> Path:
        return KEPT / "clip" if self.clip else KEPT

    @property
    def rows(self) -> Path:
        return Path("docs/ablation_clip.csv" if self.clip else "docs/ablation.csv")

    @property
    def table(self) -> Path:
        return self.rows.with_suffix(".md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", nargs="?", const=CLIP, help="a published encoder of the embeddings")
    parser.add_argument("--table", action="store_true", help="write the tables alone")
    arguments = parser.parse_args()
    if arguments.table:
        for clip in (False, True):
            write_table(Files(clip))
    else:
        measure(arguments.clip)


def write_table(files: Files) -> None:
    files.table.write_text(table(files), encoding="utf-8")


def measure(clip: str | None) -> None:
    """Train, evaluate, and write the rows and the table. Raises `UserError` if `clip` is unavailable."""
    params = load_params()
    data = load_dataset()
    files = Files(clip is not None)
    files.kept.mkdir(parents=True, exist_ok=True)
    points = np.load("data/embeddings.npy") if clip is None else embedded(params, data, clip)
    plans = [plan(params, data, points, strategy, files.kept) for strategy in strategies(data)]
    # Member by member, so that a run stopped early has as many members of every strategy.
    trainings = [Training(plan, member) for member in range(MEMBERS) for plan in plans]
    missing = [training for training in trainings if not training.weights.exists()]
    with tqdm(total=len(missing), desc="trainings", disable=None) as bar:
        side_by_side(partial(train, missing), len(missing), params.compute, bar)
    rows = [(training.plan.name, training.member, *evaluate(training, data)) for training in trainings]
    write_csv(files.rows, COLUMNS, rows)
    write_table(files)
    print(files.table.read_text(encoding="utf-8"))


def embedded(params: Params, data: Dataset, clip: str) -> np.ndarray:
    """(N, d) float32 embeddings of all images by the encoder `clip`, at `clip_embed.revision`."""
    settings = params.clip_embed.replace(encoder=clip)
    return embed_dataset(data.images, data.rows("train"), settings, params.compute)


@dataclass(frozen=True)
class Plan:
    name: str
    params: Params
    spec: Spec
    targets: Targets
    kept: Path


def plan(params: Params, data: Dataset, points: np.ndarray, strategy: Strategy, kept: Path) -> Plan:
    """points: (N, d) float32 embeddings. kept: the folder of weights."""
    params = params.replace(
        imbalance=params.imbalance.replace(strategy=strategy.strategy),
        train=params.train.replace(epochs=EPOCHS),
    )
    rows = data.rows("train")
    named = Subclasses.named(subclass_names(params, data, points, strategy))
    device = configure(params.compute.device, params.compute.threads)
    return Plan(strategy.name, params, *prepare(params, data, rows, named, device), kept)


def subclass_names(params: Params, data: Dataset, points: np.ndarray, strategy: Strategy) -> list[str]:
    """The sub-class of each training radiograph, as the cluster stage would name it."""
    rows = data.rows("train")
    labels, points = data.labels[rows], points[rows]
    names = np.array(data.classes)[labels].astype(object)
    for name in chosen_classes(strategy.split, labels, data.classes):
        inside = labels == data.classes.index(name)
        with threadpool_limits(1):
            clusters = find_clusters(points[inside], strategy.k, strategy.k, params.seed)
        names[inside] = [f"{name}_{number}" for number in clusters.assignment]
    return names.tolist()


@dataclass(frozen=True)
class Training:
    plan: Plan
    member: int

    @property
    def weights(self) -> Path:
        return self.plan.kept / f"{self.plan.name.replace(', ', '-')}-{self.member}.safetensors"


def train(trainings: list[Training], number: int, tick: Tick) -> None:
    """Train `trainings[number]` and keep its weights."""
    training = trainings[number]
    plan = training.plan
    device = configure(plan.params.compute.device, plan.params.compute.threads)
    rows = load_dataset().rows("train")
    trained = MemberTask(plan.params, plan.spec, plan.targets, rows, device)(training.member, lambda: None)
    unfinished = training.weights.with_suffix(".part")
    save_file(trained.state, unfinished)
    unfinished.replace(training.weights)
    tick()


def evaluate(training: Training, data: Dataset) -> list[float]:
    """`MEASURES` of val, then of test, both at the temperature fitted on val; the more probable class is
    reported."""
    plan = training.plan
    network = build_member(plan.spec)
    network.load_state_dict(load_file(training.weights))
    model = Classifier(plan.spec, [network])
    device = configure(plan.params.compute.device, plan.params.compute.threads)
    values: list[float] = []
    calibrate = None
    for split in ("val", "test"):
        rows = data.rows(split)
        labels = data.labels[rows]
        p = predict(model, data.images[rows], device).mean
        calibrate = calibrate or Calibration(fit_temperature(p, labels), None)
        p = calibrate(p)
        correct = p.argmax(axis=1) == labels
        values += [
            nll(p, labels),
            float(roc_auc_score(labels, p[:, 1])),
            float(correct.mean()),
            float(correct[labels == 1].mean()),
            float(correct[labels == 0].mean()),
        ]
    return values


def table(files: Files) -> str:
    """Means and standard deviations over members, and paired differences to "none" with 95 % t-intervals."""
    if not files.rows.exists():
        return NOT_RUN
    rows = read_csv(files.rows)
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
    command = "make ablation-clip" if files.clip else "python -m benchmarks.training_ablation"
    return "\n".join(
        [
            f"Written by `{command}`: {EPOCHS} epochs, members 0 to {MEMBERS - 1} of the",
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
