"""`make demo`: the pipeline of this repository on synthetic radiographs, in a copy under build/demo."""

import json
import subprocess
import sys
from pathlib import Path

from cxr.recipes import apply_recipe
from scripts import workspace

DEMO = Path("build/demo")


def main() -> None:
    workspace.copy_tracked(Path(), DEMO)
    apply_recipe(Path("recipes/demo.yaml"), DEMO / "params.yaml")
    try:
        workspace.call(DEMO, "dvc", "repro")
        workspace.call(DEMO, "dvc", "plots", "show", "--quiet")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: `{' '.join(error.cmd)}` failed in {DEMO}; its error message is above")
    workspace.commit(DEMO, "The demo's run")
    print_results()


def print_results() -> None:
    test = json.loads((DEMO / "metrics/test.json").read_text())
    retrieval = json.loads((DEMO / "metrics/retrieval.json").read_text())["gallery"]
    baseline = test.pop("majority_baseline")
    print("\nSynthetic test radiographs: these numbers show that the pipeline works, no more.\n")
    print(f"{'metric':24}{'members: mean +- std':>22}{'ensemble':>10}{'95 % interval':>20}")
    for name, value in test.items():
        variability = f"{value['mean']:.3f} +- {value['std']:.3f}"
        interval = f"{value['low']:.3f} to {value['high']:.3f}"
        print(f"{name:24}{variability:>22}{value['ensemble']:>10.3f}{interval:>20}")
    print(f"{'majority baseline':24}{'':22}{baseline:>10.3f}")
    similar, chance = retrieval["classifier"]["precision_at_5"], retrieval["chance"]
    print(f"{'precision at 5':24}{'':22}{similar:>10.3f}   chance {chance:.3f}")
    print(f"\nall plots     {DEMO}/dvc_plots/index.html (open it in a browser)")
    print(f"figures       {', '.join(sorted(str(path) for path in (DEMO / 'plots').glob('*.png')))}")
    print("service       `make serve` runs this model, or that of `make repro`, in a browser")
    print("next          docs/walkthrough.md, from a first change to its review")


if __name__ == "__main__":
    main()
