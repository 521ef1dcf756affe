"""`make demo`: the pipeline of this repository on synthetic radiographs, in a copy under build/demo.

    python -m scripts.demo [FOLDER]

The walk-through makes commits, branches and experiments in that copy, so one that holds any is not replaced.
"""

import json
import subprocess
import sys
from pathlib import Path

from cxr.core.errors import UserError, run
from cxr.recipes import apply_recipe
from scripts import workspace

DEMO = Path("build/demo")
RUN = "The demo's run"
# What the pipeline writes: changes of it alone are what an interrupted demo leaves behind.
OUTPUTS = ("dvc.lock", "metrics/", "plots/", "reports/")


def main(folder: Path = DEMO) -> None:
    """Raises `UserError`, and leaves `folder` as it is, if somebody has worked in it."""
    if work := work_in(folder):
        raise UserError(f"{folder}: holds {work}; move the folder elsewhere or delete it, then run again")
    workspace.copy_tracked(Path(), folder)
    apply_recipe(Path("recipes/demo.yaml"), folder / "params.yaml")
    try:
        workspace.call(folder, "dvc", "repro")
        workspace.call(folder, "dvc", "plots", "show", "--quiet")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: `{' '.join(error.cmd)}` failed in {folder}; its error message is above")
    workspace.commit(folder, RUN)
    print_results(folder)


def work_in(folder: Path) -> str:
    """What `folder` holds that a demo does not write, in words; "" if there is nothing of this kind."""
    if not folder.exists():
        return ""
    if not (folder / ".git").is_dir():
        return "files that no demo wrote" if any(folder.iterdir()) else ""

    def git(*arguments: str) -> list[str]:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    refs = set(git("for-each-ref", "--format=%(refname)")) - {"refs/heads/main"}
    if experiments := [ref for ref in refs if ref.startswith("refs/exps/")]:
        return f"DVC experiments ({len(experiments)})"
    if branches := sorted(ref.removeprefix("refs/heads/") for ref in refs if ref.startswith("refs/heads/")):
        return f"the branch {branches[0]}"
    if others := [subject for subject in git("log", "--format=%s") if subject not in (workspace.COPY, RUN)]:
        return f"the commit {others[0]!r}"
    finished = git("log", "--format=%s", "-1") == [RUN]
    changed = [line[3:] for line in git("status", "--porcelain")]
    # While a demo runs, params.yaml is the demo's.
    own = [path for path in changed if finished or not path.startswith((*OUTPUTS, "params.yaml"))]
    return f"changes of {own[0]}" if own else ""


def print_results(folder: Path) -> None:
    test = json.loads((folder / "metrics/test.json").read_text())
    retrieval = json.loads((folder / "metrics/retrieval.json").read_text())["gallery"]
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
    print(f"\nall plots     {folder}/dvc_plots/index.html (open it in a browser)")
    print(f"figures       {', '.join(sorted(str(path) for path in (folder / 'plots').glob('*.png')))}")
    print("service       `make serve` runs this model, or that of `make repro`, in a browser")
    print("next          docs/walkthrough.md, from a first change to its review")


if __name__ == "__main__":
    run(lambda: main(*map(Path, sys.argv[1:2])))
