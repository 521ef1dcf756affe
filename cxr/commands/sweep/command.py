"""`cxr sweep`: many experiments, on a Ray cluster or in the queue of DVC."""

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cxr.commands.sweep.outcomes import FOLDER, Outcome, load_outcome, sweep_table
from cxr.commands.sweep.plan import Planned, plan
from cxr.core.errors import UserError
from cxr.params import Compute, load_params


def add(commands: Any) -> None:
    command = commands.add_parser(
        "sweep",
        help="many experiments, on a Ray cluster or in DVC's queue",
        description="Runs every combination of the values as a DVC experiment on HEAD: on the nodes of the "
        "Ray cluster that RAY_ADDRESS names, or without it one after the other in DVC's queue. A sweep that "
        "was interrupted goes on when it is called again; experiments that are done do not run again. The "
        "table is ordered by the log loss on val; `cxr leaderboard` and `cxr compare` evaluate on test.",
    )
    command.add_argument(
        "-S",
        dest="grid",
        action="append",
        default=[],
        metavar="KEY=VALUE,VALUE",
        help="values of a parameter, as `dvc exp run --queue` takes them: train.lr=0.001,0.003 or "
        "'seed=range(0,5)'",
    )
    command.add_argument(
        "--list", type=Path, metavar="FILE", help="a file with the changes of one experiment in each line"
    )
    command.add_argument("--name", default="sweep", help="how names of experiments start; default: sweep")
    command.add_argument("--retry", action="store_true", help="run experiments that failed again")
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if a change is not allowed, HEAD is not what would run, or an experiment failed."""
    compute = load_params().compute
    if not arguments.grid and not arguments.list:
        raise UserError("name the changes: cxr sweep -S train.lr=0.001,0.003 -S 'seed=range(0,5)'")
    planned = plan(arguments.name, arguments.grid, arguments.list)
    revision = _head()
    waiting = [each for each in planned if _runs(load_outcome(revision, each.name), arguments.retry)]
    print(f"{len(planned)} experiments, {len(waiting)} to run; outputs: {FOLDER}/{revision[:12]}/")
    if waiting:
        _run(waiting, revision, compute)
    outcomes = [load_outcome(revision, each.name) for each in planned]
    print("\n".join(sweep_table(planned, outcomes)))
    if failed := sum(outcome is not None and outcome.state == "failed" for outcome in outcomes):
        raise UserError(f"{failed} of {len(planned)} experiments failed; `--retry` runs them again")


def _runs(outcome: Outcome | None, retry: bool) -> bool:
    return outcome is None or (retry and outcome.state == "failed")


def _run(planned: Sequence[Planned], revision: str, compute: Compute) -> None:
    # Both import what takes seconds, and `cxr --help` does not wait for it.
    from cxr.core.engine import on_ray, side_by_side

    with tqdm(total=len(planned), desc="sweep", unit="experiment", disable=None) as bar:
        if on_ray():
            from cxr.commands.sweep.in_clone import CloneTask

            side_by_side(CloneTask(planned, revision, compute.threads), len(planned), compute, bar)
        else:
            from cxr.commands.sweep.in_queue import run_in_queue

            run_in_queue(planned, revision, bar)


def _head() -> str:
    """The commit HEAD. Raises `UserError` if tracked files differ from it: experiments would not."""
    changed = _git("status", "--porcelain", "--untracked-files=no").splitlines()
    if changed:
        raise UserError(
            f"{changed[0][3:]}: changed since HEAD, from which experiments start; commit it first"
        )
    return _git("rev-parse", "HEAD").strip()


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout
    except subprocess.CalledProcessError as error:
        raise UserError(f"git {arguments[0]}: {error.stderr.strip().splitlines()[-1]}") from None
