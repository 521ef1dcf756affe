"""All recipes beside what was published: docs/recipes.md.

    python -m scripts.recipe_table [NAME...]

Runs each NAME with nothing but DVC's cache, in a copy of the repository under build/recipes/, with the seeds
0, 1, ... until there are five members, and keeps their test metrics in docs/recipes.csv; then writes the
table from that file. Without a NAME it only writes the table. A recipe whose weights were unavailable is
listed as not run; `default` is the committed run. A NAME may also be one of `STAND_INS`: the training of such
a recipe with the one published file of weights that was available.
"""

import argparse
import itertools
import math
import operator
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from cxr import recipes
from cxr.core.files import read_csv, read_json, write_csv
from cxr.models.classifier import Spec, build_member, load_spec
from cxr.recipes import about_recipe, recipe_names, recipe_values, switch_to
from cxr.training.freezing import freeze
from scripts import workspace

RUNS = Path("build/recipes")
RESULTS = Path("docs/recipes.csv")
TABLE = Path("docs/recipes.md")
MEMBERS = 5
METRICS = {
    "two classes": ("auc", "accuracy", "sensitivity", "specificity"),
    "more": ("auc_ovr_macro", "accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "nll"),
}
COLUMNS = ("recipe", "parameters", "members", "metric", "mean", "std")
TEST_SETS = {
    "published": "the source's own",
    "stratified": "{test:.0f} % of all images, cut anew",
    "stratified_train": "{test:.0f} % of the source's train, cut anew; not comparable with its own test",
}


@dataclass(frozen=True)
class StandIn:
    """A recipe with changes, by dotted key of params.yaml."""

    recipe: str
    summary: str
    changes: dict[str, Any]


SQUEEZENET = {
    "model.backbone": "squeezenet1_1",
    "model.weights": "file:squeezenet1_1-onnxzoo.pth",
    "model.weights_sha256": "383ea3524e38641d8afa24b59181da20e1fdfc478e6e5b3a6ef4cfbc769f1570",
}
STAND_INS = {
    "frozen_squeezenet": StandIn(
        "inception_frozen",
        "the recipe's head and training on SqueezeNet 1.1, all of it frozen",
        {**SQUEEZENET, "train.members": 2},
    ),
    "two_phase_squeezenet": StandIn(
        "efficientnet_two_phase",
        "the recipe's two phases on SqueezeNet 1.1, its last three blocks in the second; PneumoniaMNIST",
        {
            **SQUEEZENET,
            "download.source": "pneumoniamnist",
            "download.size": 28,
            "split.method": "published",
            "finetune.trainable": ["features.10", "features.11", "features.12"],
            "train.members": 2,
        },
    ),
    "images_224_squeezenet": StandIn(
        "default",
        "SqueezeNet 1.1, all of it trained, on the original radiographs of PneumoniaMNIST at 224 pixels, val "
        "split off by patient (Kermany et al., 2018, on these test radiographs at full size: accuracy 0.928, "
        "AUC 0.968)",
        {
            **SQUEEZENET,
            "download.source": "chest_xray_pneumonia",
            "download.size": 224,
            "model.tta": "flip",
            "train.members": 2,
            "train.epochs": 3,
            "train.batch_size": 64,
            "train.lr": 0.0003,
        },
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    for name in parser.parse_args().names:
        keep(name, measured(name))
    TABLE.write_text(table(), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


def measured(name: str) -> list[list[object]]:
    """Rows of `COLUMNS`, one for each metric: mean and standard deviation over the recipe's members."""
    recipe, changes = name, {}
    if name in STAND_INS:
        recipe, changes = STAND_INS[name].recipe, STAND_INS[name].changes
    values = recipe_values(recipe) | changes
    if recipe == name == "default":
        return summarised(name, Path(), values, read_json("metrics/details.json")["test"]["members"])
    copy = RUNS / name
    workspace.copy_tracked(Path(), copy)
    switch_to(recipe, copy / "params.yaml")
    start = time.monotonic()
    members: list[dict[str, float]] = []
    wanted = values["train.members"] if name in STAND_INS else max(MEMBERS, values["train.members"])
    for seed in itertools.count():
        missing = min(values["train.members"], wanted - len(members))
        if not missing:
            break
        assign(copy / "params.yaml", changes | {"seed": seed, "train.members": missing})
        workspace.call(copy, "dvc", "repro", "evaluate")
        members += read_json(copy / "metrics/details.json")["test"]["members"]
    print(f"{name}: {(time.monotonic() - start) / 60:.1f} minutes", file=sys.stderr)
    return summarised(name, copy, values, members)


def summarised(
    name: str, run: Path, values: dict[str, Any], members: list[dict[str, float]]
) -> list[list[object]]:
    """Rows of `COLUMNS` of the run in the folder `run`."""
    spec = load_spec(run / "models/classifier.json")
    parameters = trained_parameters(spec, values)
    rows: list[list[object]] = []
    for metric in METRICS["two classes" if len(spec.classes) == 2 else "more"]:
        of_members = [member[metric] for member in members]
        summary = statistics.mean(of_members), statistics.stdev(of_members)
        rows.append([name, parameters, len(members), metric, *summary])
    return rows


def assign(path: Path, changes: dict[str, Any]) -> None:
    """Write values by dotted key into a params.yaml."""
    handler = recipes.yaml()
    tree = handler.load(path)
    for key, value in changes.items():
        *sections, last = key.split(".")
        reduce(operator.getitem, sections, tree)[last] = value
    handler.dump(tree, path)


def trained_parameters(spec: Spec, values: dict[str, Any]) -> int:
    """The number of parameters of one member that any phase trains."""
    network = build_member(spec)
    trained: set[str] = set()
    for phase in ("train", "finetune"):
        if values[f"{phase}.epochs"]:
            freeze(network, values[f"{phase}.trainable"])
            trained |= {key for key, weight in network.named_parameters() if weight.requires_grad}
    return sum(weight.numel() for key, weight in network.named_parameters() if key in trained)


def keep(name: str, rows: list[list[object]]) -> None:
    """Put `rows` in the place of those of the recipe `name` in docs/recipes.csv."""
    kept = [list(old.values()) for old in read_csv(RESULTS)] if RESULTS.exists() else []
    others = [old for old in kept if old[0] != name]
    write_csv(RESULTS, COLUMNS, sorted([*others, *rows], key=lambda row: str(row[0])))


def better_than_default(rows: Mapping[str, list[dict[str, str]]]) -> list[str]:
    """A sentence on the recipes whose mean AUC is above that of the row `default`."""
    areas = {
        name: float(row["mean"])
        for name in recipe_names()
        for row in rows.get(name, [])
        if row["metric"] == "auc"
    }
    default = areas.get("default", math.inf)
    higher = {name: area for name, area in areas.items() if area > default}
    if not higher:
        return []
    named = ", ".join(f"`{name}` ({area:.4f})" for name, area in higher.items())
    return ["", f"A higher mean AUC than `default` here ({default:.4f}) has {named}."]


def table() -> str:
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read_csv(RESULTS) if RESULTS.exists() else []:
        rows[row["recipe"]].append(row)
    lines = [
        "# Recipes",
        "",
        "Written by `python -m scripts.recipe_table`. Parameters are the trained ones of one member. Our",
        "results are of single members on test, mean ± standard deviation over members (seeds); published",
        "results are of single runs, or of the best one. `test set` is that of both, by `split.method`.",
        "",
        "| recipe | parameters | test set | published | here | members |",
        "|---|---|---|---|---|---|",
    ]
    for name in recipe_names():
        if name == "demo":
            continue
        about = about_recipe(name)
        published = ", ".join(f"{metric} {value:g}" for metric, value in about.published.items())
        if name in rows:
            cells = measured_cells(rows[name])
        else:
            why = "not run yet" if about.weights == "none" else f"not run: needs {about.weights}"
            cells = ["", why, ""]
        lines.append(f"| `{name}` | {cells[0]} | {test_set(name)} | {published} | {' | '.join(cells[1:])} |")
    lines += better_than_default(rows)
    lines += [
        "",
        "## Recipes whose weights were unavailable",
        "",
        "Each of them runs from `download` to `card` on synthetic radiographs, at full input size and from",
        "random weights (`make test-slow`). The one published file of weights that was available, SqueezeNet",
        "1.1 (a smaller and older network), went through the same kinds of training on real radiographs.",
        "These rows show that the training works; they are no evidence about the networks of the recipes.",
        "",
        "| run | from recipe | what it is | parameters | here | members |",
        "|---|---|---|---|---|---|",
    ]
    for name, run in STAND_INS.items():
        cells = measured_cells(rows[name]) if name in rows else ["", "not run yet", ""]
        lines.append(f"| `{name}` | `{run.recipe}` | {run.summary} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def test_set(name: str) -> str:
    """Which images the recipe's test results are of, in words."""
    values = recipe_values(name)
    return TEST_SETS[values["split.method"]].format(test=100 * values["split.ratios.test"])


def measured_cells(rows: list[dict[str, str]]) -> list[str]:
    """Cells of the table: parameters, metrics, members. rows: of docs/recipes.csv, at least one."""
    here = ", ".join(f"{row['metric']} {float(row['mean']):.4f} ± {float(row['std']):.4f}" for row in rows)
    return [f"{int(rows[0]['parameters']):,}", here, rows[0]["members"]]


if __name__ == "__main__":
    main()
