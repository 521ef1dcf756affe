"""The experiments of a sweep in the queue of DVC, one after the other on this machine."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence

import dvc.api
from dvc.repo import Repo
from tqdm import tqdm

from cxr.commands.sweep.outcomes import LINES, Outcome, on_val, outcome_path, save_outcome
from cxr.commands.sweep.plan import Planned
from cxr.core.errors import UserError

SECONDS = 2.0  # between two looks at the queue
LOOKS = 15  # without a task, after which it counts as removed
ENDED = ("Failed", "Success")


def run_in_queue(planned: Sequence[Planned], revision: str, bar: tqdm) -> None:
    """Queue the experiments that are not queued yet, wait for all, and save their outcomes.

    DVC's worker goes on if this process is killed; a new call waits for it. Raises `UserError` if DVC
    refuses.
    """
    known = _states()
    for experiment in planned:
        if known.get(experiment.name) in ENDED:  # of an earlier call
            _dvc("queue", "remove", experiment.name)
        if known.get(experiment.name) not in ("Queued", "Running"):
            changes = [part for change in experiment.changes for part in ("-S", change)]
            _dvc("exp", "run", "--queue", "--name", experiment.name, *changes)
    _dvc("queue", "start")
    waiting = {experiment.name for experiment in planned}
    absent: Counter[str] = Counter()
    while waiting:
        time.sleep(SECONDS)
        states = _states()
        for name in sorted(waiting):
            # Between two states a task is in neither list of DVC for a moment.
            absent[name] = 0 if name in states else absent[name] + 1
            if states.get(name) in ENDED or absent[name] > LOOKS:
                save_outcome(revision, name, _outcome(name, revision, states.get(name)))
                waiting.remove(name)
                bar.update()


def _states() -> dict[str, str]:
    """Queued, Running, Failed or Success, by the name of the experiment."""
    return {task["name"]: task["status"] for task in Repo().experiments.celery_queue.status() if task["name"]}


def _outcome(name: str, revision: str, state: str | None) -> Outcome:
    if state != "Success":
        return Outcome("failed", lines=_last_lines(name) if state else ["removed from DVC's queue"])
    history = outcome_path(revision, name).with_suffix(".csv")
    history.parent.mkdir(parents=True, exist_ok=True)
    history.write_text(dvc.api.read("models/history.csv", rev=name), encoding="utf-8")
    return Outcome("done", *on_val(history))


def _last_lines(name: str) -> list[str]:
    try:
        printed = _dvc("queue", "logs", name)
    except UserError as error:  # it failed before it printed anything
        printed = str(error)
    return [line for line in printed.splitlines() if line.strip()][-LINES:]


def _dvc(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"dvc {' '.join(arguments[:2])}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout
