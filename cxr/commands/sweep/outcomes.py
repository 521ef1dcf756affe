"""What is kept of each experiment of a sweep, and the table of them."""

import shlex
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from cxr.commands.leaderboard import aligned
from cxr.commands.sweep.plan import Planned
from cxr.core.files import read_csv, read_json, write_json

FOLDER = Path("build/sweep")
STATES = ("done", "stopped", "failed")  # in the order of the table
LINES = 5  # of what a failed experiment printed last


@dataclass(frozen=True)
class Outcome:
    """val_nll, val_accuracy: of the released weights on val, mean over members; None if it is not done.
    seconds: that it ran. node: on which machine. lines: the last ones that a failed one printed. epoch: after
    which a bad one was stopped."""

    state: Literal["done", "stopped", "failed"]
    val_nll: float | None = None
    val_accuracy: float | None = None
    seconds: float | None = None
    node: str = ""
    lines: list[str] = field(default_factory=list)
    epoch: int | None = None


def outcome_path(revision: str, name: str) -> Path:
    """Of the experiment `name` on the commit `revision`."""
    return FOLDER / revision[:12] / f"{name}.json"


def save_outcome(revision: str, name: str, outcome: Outcome) -> None:
    write_json(outcome_path(revision, name), asdict(outcome))


def load_outcome(revision: str, name: str) -> Outcome | None:
    path = outcome_path(revision, name)
    return Outcome(**read_json(path)) if path.is_file() else None


def on_val(history: Path) -> tuple[float, float]:
    """Log loss and accuracy on val of the released weights, mean over members. history: of the kind of
    models/history.csv."""
    released = [row for row in read_csv(history) if row["released"] == "1"]
    return (
        statistics.mean(float(row["val_nll"]) for row in released),
        statistics.mean(float(row["val_accuracy"]) for row in released),
    )


def first_curve(history: Path, finished: bool) -> dict[int, float]:
    """Log loss on val of the first member after each of its epochs, from 1.

    Not the mean over members, which would depend on when one looks. history: as in `on_val`. finished:
    whether the training in question has ended; before it starts, the file can be that of another one. No
    epoch is released while members train. {} if the file is missing or does not agree.
    """
    try:
        rows = read_csv(history)
    except FileNotFoundError:
        return {}
    if any(row["released"] == "1" for row in rows) != finished:
        return {}
    return {int(row["epoch"]): float(row["val_nll"]) for row in rows if row["member"] == "0"}


def sweep_table(planned: Sequence[Planned], outcomes: Sequence[Outcome | None]) -> list[str]:
    """Lines of text: finished experiments by their log loss on val, then those that were stopped, the failed
    ones with their last lines, and those that have not run."""

    def order(row: tuple[Planned, Outcome | None]) -> tuple[int, float]:
        outcome = row[1]
        if outcome is None:
            return len(STATES), 0.0
        return STATES.index(outcome.state), outcome.val_nll or 0.0

    rows = sorted(zip(planned, outcomes, strict=True), key=order)
    cells = [["experiment", "state", "val_nll", "val_accuracy", "minutes", "node", "changes"]]
    for experiment, outcome in rows:
        numbers = ["", "", ""]
        if outcome:
            values = (outcome.val_nll, 4), (outcome.val_accuracy, 4), (_minutes(outcome.seconds), 1)
            numbers = ["" if value is None else f"{value:.{digits}f}" for value, digits in values]
        state, node = (outcome.state, outcome.node) if outcome else ("missing", "")
        if outcome and outcome.epoch:
            state += f" at epoch {outcome.epoch}"
        cells.append([experiment.name, state, *numbers, node, shlex.join(experiment.changes)])
    lines = aligned(cells)
    for experiment, outcome in rows:
        if outcome and outcome.state == "failed":
            lines += [
                "",
                f"{experiment.name} failed; its last lines:",
                *(f"    {line}" for line in outcome.lines),
            ]
    return lines


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60
