"""The experiments of a sweep in the queue of DVC, one after the other on this machine."""

import subprocess
import sys
import time
from collections.abc import Sequence

import dvc.api
from dvc.repo import Repo
from tqdm import tqdm

from cxr.commands.sweep.outcomes import LINES, Outcome, on_val, outcome_path, save_outcome
from cxr.commands.sweep.plan import Planned
from cxr.core.errors import UserError

SECONDS = 2.0  # between two looks at the queue


def run_in_queue(planned: Sequence[Planned], revision: str, bar: tqdm) -> None:
    """Queue the experiments that are not queued yet, wait for all, and save their outcomes.

    DVC's worker goes on if this process is killed; a new call waits for it. Raises `UserError` if DVC
    refuses.
    """
    known = _states()
    for experiment in planned:
        if known.get(experiment.name) in ("Failed", "Success"):  # of an earlier call
            _dvc("queue", "remove", experiment.name)
        if known.get(experiment.name) not in ("Queued", "Running"):
            changes = [part for change in experiment.changes for part in ("-S", change)]
            _dvc("exp", "run", "--queue", "--name", experiment.name, *changes)
    _dvc("queue", "start")
    waiting = {experiment.name: experiment for experiment in planned}
    while waiting:
        time.sleep(SECONDS)
        states = _states()
        for name in [name for name in waiting if states.get(name) not in ("Queued", "Running")]:
            save_outcome(revision, name, _outcome(name, revision, states.get(name, "")))
            del waiting[name]
            bar.update()


def _states() -> dict[str, str]:
    """Queued, Running, Failed or Success, by the name of the experiment."""
    return {task["name"]: task["status"] for task in Repo().experiments.celery_queue.status() if task["name"]}


def _outcome(name: str, revision: str, state: str) -> Outcome:
    if state != "Success":
        lines = [line for line in _dvc("queue", "logs", name).splitlines() if line.strip()]
        return Outcome("failed", lines=lines[-LINES:])
    history = outcome_path(revision, name).with_suffix(".csv")
    history.parent.mkdir(parents=True, exist_ok=True)
    history.write_text(dvc.api.read("models/history.csv", rev=name), encoding="utf-8")
    return Outcome("done", *on_val(history))


def _dvc(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"dvc {' '.join(arguments[:2])}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout
