"""`cxr sweep`: many experiments, on a Ray cluster or in the queue of DVC."""

import argparse
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
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
        help="many experiments, on a Ray cluster or on this machine",
        description="Runs every combination of the values as a DVC experiment on HEAD: on the nodes of the "
        "Ray cluster that RAY_ADDRESS names, or without it one after the other in DVC's queue. With --trials "
        "it searches the ranges instead, on the cluster or in clones on this machine. A sweep that "
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
        "'seed=range(0,5)'; with --trials also 'train.lr=tag(log,interval(1e-4,1e-2))'",
    )
    command.add_argument(
        "--trials",
        type=int,
        metavar="N",
        help="search the ranges by Optuna, for the lowest log loss on val, in N experiments; bad ones are "
        "stopped early",
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
    sweep = _grid if arguments.trials is None else _search
    revision, planned = sweep(arguments, compute)
    outcomes = [load_outcome(revision, each.name) for each in planned]
    print("\n".join(sweep_table(planned, outcomes)))
    if failed := sum(outcome is not None and outcome.state == "failed" for outcome in outcomes):
        raise UserError(f"{failed} of {len(planned)} experiments failed; `--retry` runs them again")


def _grid(arguments: argparse.Namespace, compute: Compute) -> tuple[str, list[Planned]]:
    """Run what has not run yet. Returns the commit and all experiments."""
    planned = plan(arguments.name, arguments.grid, arguments.list)
    revision = _head()
    waiting = [each for each in planned if _runs(load_outcome(revision, each.name), arguments.retry)]
    _tell(len(planned), len(waiting), revision)
    if waiting:
        _run(waiting, revision, compute)
    return revision, planned


def _search(arguments: argparse.Namespace, compute: Compute) -> tuple[str, list[Planned]]:
    """As `_grid`, for the trials of a search."""
    if arguments.list or arguments.trials < 1:
        raise UserError("--trials N: N is the number of experiments, at least 1, and --list is not used")
    if find_spec("optuna") is None:
        raise UserError("--trials needs the package optuna; install the layer `tune`: `uv sync --extra tune`")
    from cxr.commands.sweep.search import ParameterSearch, TrialTask
    from cxr.commands.sweep.space import search_space
    from cxr.core.engine import side_by_side

    space = search_space(arguments.grid)
    search = ParameterSearch(arguments.name, _head(), space)
    outcomes = [load_outcome(search.revision, search.experiment(each)) for each in range(arguments.trials)]
    waiting = [number for number, outcome in enumerate(outcomes) if _runs(outcome, arguments.retry)]
    for number, outcome in enumerate(outcomes):
        if outcome:  # a driver that was killed may not have told the study
            search.tell(number, outcome)
    _tell(arguments.trials, len(waiting), search.revision)
    if waiting:
        with _bar(len(waiting)) as bar:
            task = TrialTask(search, waiting, compute.threads)
            side_by_side(task, len(waiting), compute, bar)
    return search.revision, search.planned(range(arguments.trials))


def _tell(count: int, waiting: int, revision: str) -> None:
    print(f"{count} experiments, {waiting} to run; outputs: {FOLDER}/{revision[:12]}/", flush=True)


def _bar(count: int) -> tqdm:
    return tqdm(total=count, desc="sweep", unit="experiment", disable=None)


def _runs(outcome: Outcome | None, retry: bool) -> bool:
    return outcome is None or (retry and outcome.state == "failed")


def _run(planned: Sequence[Planned], revision: str, compute: Compute) -> None:
    # Both import what takes seconds, and `cxr --help` does not wait for it.
    from cxr.core.engine import on_ray, side_by_side

    with _bar(len(planned)) as bar:
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
