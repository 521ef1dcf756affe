"""One experiment in a clone of the repository, on whichever node of the cluster it comes to run.

The clone has the cache of the repository, so that no stage runs twice and its outputs are there at once, and
pushes the experiment to it as a Git reference, where `dvc exp show` finds it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr.commands.sweep.guard import guarded
from cxr.commands.sweep.outcomes import LINES, Outcome, on_val, outcome_path, save_outcome
from cxr.commands.sweep.plan import Planned
from cxr.core.cluster import node_name
from cxr.core.engine import ADDRESS
from cxr.core.processes import CPUS, Tick

HISTORY = Path("models/history.csv")
SECONDS = 1.0  # between two looks at it
RESUME = ".resume"  # where a killed training goes on from (`cxr.training.checkpoints`)


@dataclass(frozen=True)
class CloneTask:
    """The arguments of `run_in_clone` for each of `planned`; picklable. Runs in the folder of the repository.

    revision: the commit from which experiments start. cpus: that one may use.
    """

    planned: Sequence[Planned]
    revision: str
    cpus: int

    def __call__(self, number: int, tick: Tick) -> None:
        outcome = run_in_clone(self.planned[number], self.revision, self.cpus)
        save_outcome(self.revision, self.planned[number].name, outcome)
        tick()


Watch = Callable[[Path, bool], int | None]


class StoppedError(Exception):
    """epoch: after which."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch


def never(history: Path, finished: bool) -> None:
    """A `Watch` that lets every experiment finish."""


def run_in_clone(experiment: Planned, revision: str, cpus: int, watch: Watch = never) -> Outcome:
    """`dvc exp run` of `experiment`, whose output is in a .log file beside that of its outcome.

    watch: called with the path of models/history.csv, every second while the experiment runs and with True
    when it is done; the experiment is stopped as soon as an epoch is returned.
    """
    start = time.monotonic()
    log = outcome_path(revision, experiment.name).with_suffix(".log")
    clone = log.with_suffix("")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:

        def call(*command: str, folder: Path = clone) -> None:
            process = subprocess.Popen(
                guarded(*command),
                cwd=folder,
                env=_environment(cpus),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
            try:
                code = None
                while code is None:
                    try:
                        code = process.wait(SECONDS)
                    except subprocess.TimeoutExpired:
                        if epoch := watch(clone / HISTORY, False):
                            raise StoppedError(epoch) from None
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
            if code:
                raise subprocess.CalledProcessError(code, command)

        try:
            _clone(clone, revision, call)
            changes = [part for change in experiment.changes for part in ("-S", change)]
            dvc = (sys.executable, "-m", "dvc")
            call(*dvc, "exp", "run", "--name", experiment.name, *changes)
            call(*dvc, "exp", "push", "--no-cache", "--force", "origin", experiment.name)
        except subprocess.CalledProcessError:
            lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
            return Outcome("failed", **_where(start), lines=lines[-LINES:])
        except StoppedError as stopped:
            shutil.rmtree(clone)
            return Outcome("stopped", **_where(start), epoch=stopped.epoch)
    watch(clone / HISTORY, True)
    nll, accuracy = on_val(clone / HISTORY)
    shutil.rmtree(clone)
    return Outcome("done", nll, accuracy, **_where(start))


def _where(start: float) -> dict[str, Any]:
    return {"seconds": time.monotonic() - start, "node": node_name()}


def _clone(clone: Path, revision: str, call: Callable[..., None]) -> None:
    """A new clone at `revision`, with what an interrupted training in the one before goes on from."""
    here = Path.cwd()
    kept = clone.with_name(f"{clone.name}.resume")
    if (clone / RESUME).is_dir():
        shutil.rmtree(kept, ignore_errors=True)
        (clone / RESUME).rename(kept)
    if clone.exists():
        shutil.rmtree(clone)
    call("git", "clone", "--quiet", "--no-checkout", str(here), str(here / clone), folder=here)
    call("git", "checkout", "--quiet", "--detach", revision)
    for key in ("user.name", "user.email"):  # of the repository alone, which a clone does not inherit
        if value := _said(here, "git", "config", key):
            call("git", "config", key, value)
    if (own := here / ".dvc/config.local").is_file():
        shutil.copy(own, clone / ".dvc/config.local")
    cache = _said(here, sys.executable, "-m", "dvc", "cache", "dir")
    call(sys.executable, "-m", "dvc", "config", "--local", "cache.dir", cache)
    if kept.is_dir():
        kept.rename(clone / RESUME)


def _said(folder: Path, *command: str) -> str:
    """What the command prints; nothing if it fails."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.strip()


def _environment(cpus: int) -> dict[str, str]:
    """Without the cluster: an experiment that waits for tasks of its own would hold the CPUs they need."""
    python = Path(sys.executable).parent
    own = {CPUS: str(cpus), "PATH": f"{python}{os.pathsep}{os.environ['PATH']}"}
    return {key: value for key, value in os.environ.items() if key != ADDRESS} | own
