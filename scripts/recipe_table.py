"""All recipes beside what was published: docs/recipes.md.

    python -m scripts.recipe_table [NAME...]

Runs each NAME from nothing but DVC's cache, in a copy of the repository under build/recipes/, with at least
five members, and keeps what test said in docs/recipes.csv; then writes the table from that file. Without a
NAME it only writes the table. A recipe whose weights could not be had stands in it as not run.
"""

import argparse
import sys
import time
from pathlib import Path

from cxr import recipes, workspace
from cxr.files import read_csv, read_json, write_csv
from cxr.models.classifier import Spec, build_member
from cxr.models.freezing import freeze

RUNS = Path("build/recipes")
RESULTS = Path("docs/recipes.csv")
TABLE = Path("docs/recipes.md")
MEMBERS = 5
METRICS = ("auc", "accuracy", "sensitivity", "specificity")
COLUMNS = ("recipe", "parameters", "members", *(f"{m}_{s}" for m in METRICS for s in ("mean", "std")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    for name in parser.parse_args().names:
        keep(measured(name))
    TABLE.write_text(table(), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


def measured(name: str) -> list[object]:
    """A row of `COLUMNS`: what the recipe reaches on test, over its members."""
    copy = RUNS / name
    workspace.copy_tracked(Path(), copy)
    wanted = max(MEMBERS, recipes.values(name)["train.members"])
    settings = copy / "params.yaml"
    for recipe in (recipes.DEFAULT, name):
        recipes.apply(recipes.FOLDER / f"{recipe}.yaml", settings)
    handler = recipes.yaml()
    tree = handler.load(settings)
    tree["train"]["members"] = wanted
    handler.dump(tree, settings)
    start = time.monotonic()
    workspace.call(copy, "dvc", "repro")
    print(f"{name}: {(time.monotonic() - start) / 60:.1f} minutes", file=sys.stderr)
    test = read_json(copy / "metrics/test.json")
    spec = Spec(**read_json(copy / "models/classifier.json"))
    figures = [test[metric][part] for metric in METRICS for part in ("mean", "std")]
    return [name, trained_parameters(spec, name), spec.members, *figures]


def trained_parameters(spec: Spec, name: str) -> int:
    """Of one member, in all phases together."""
    network = build_member(spec)
    trained: set[str] = set()
    values = recipes.values(name)
    for phase in ("train", "finetune"):
        if values[f"{phase}.epochs"]:
            freeze(network, values[f"{phase}.trainable"])
            trained |= {key for key, weight in network.named_parameters() if weight.requires_grad}
    return sum(weight.numel() for key, weight in network.named_parameters() if key in trained)


def keep(row: list[object]) -> None:
    rows = [list(old.values()) for old in read_csv(RESULTS)] if RESULTS.exists() else []
    others = [old for old in rows if old[0] != row[0]]
    write_csv(RESULTS, COLUMNS, sorted([*others, row], key=lambda r: str(r[0])))


def table() -> str:
    rows = {row["recipe"]: row for row in read_csv(RESULTS)} if RESULTS.exists() else {}
    lines = [
        "# Recipes",
        "",
        "Written by `python -m scripts.recipe_table`. Parameters are those that are trained, of one member.",
        "Our figures are of single members on test, mean ± standard deviation over the members (seeds);",
        "published ones are single runs, or the best of them.",
        "",
        "| recipe | parameters | published | here | members |",
        "|---|---|---|---|---|",
    ]
    for name in recipes.names():
        if name == "demo":
            continue
        about = recipes.about(name)
        published = ", ".join(f"{metric} {value:g}" for metric, value in about.published.items())
        row = rows.get(name)
        if row:
            here = ", ".join(
                f"{m} {float(row[f'{m}_mean']):.4f} ± {float(row[f'{m}_std']):.4f}" for m in METRICS
            )
            cells = [f"{int(row['parameters']):,}", published, here, row["members"]]
        else:
            why = "not run yet" if about.weights == "none" else f"not run: needs {about.weights}"
            cells = ["", published, why, ""]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
