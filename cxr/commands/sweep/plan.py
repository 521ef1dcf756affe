"""The experiments of a sweep: which parameters each changes, and its name."""

import hashlib
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr import params
from cxr.core.errors import UserError
from cxr.params import Params, load_params


@dataclass(frozen=True)
class Planned:
    """name: of the DVC experiment; the same changes have the same name, so that a sweep can be resumed.
    changes: arguments of `-S`, such as "train.lr=0.001"."""

    name: str
    changes: tuple[str, ...]


def plan(sweep: str, grid: Sequence[str], listed: Path | None = None) -> list[Planned]:
    """The experiments of a sweep called `sweep`, without repetitions.

    grid: changes in the syntax of `dvc exp run --queue` (Hydra's), of which all combinations are planned,
    such as "train.lr=0.001,0.003" and "seed=range(0,5)". listed: a file with the changes of one experiment in
    each line, separated by spaces; the grid is planned for every line. Raises `UserError` for a change that
    params.yaml does not allow.
    """
    rows = _lines(listed) if listed else [[]]
    combinations = [tuple(each) for row in rows for each in _combinations([*row, *grid])]
    planned = [_named(sweep, changes) for changes in dict.fromkeys(combinations)]
    for experiment in planned:
        check_changes(experiment.changes)
    return planned


def _lines(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    rows = [shlex.split(line, comments=True) for line in lines]
    if not any(rows):
        raise UserError(
            f"{path}: no experiments; write the changes of one in each line: train.lr=0.001 seed=1"
        )
    return [row for row in rows if row]


def _combinations(changes: Sequence[str]) -> list[list[str]]:
    # DVC's own way to expand a grid, so that both take the same syntax.
    from dvc.utils.hydra import get_hydra_sweeps
    from hydra.errors import HydraException

    try:
        return [sweep["params.yaml"] for sweep in get_hydra_sweeps({"params.yaml": list(changes)})]
    except HydraException:
        raise UserError(
            f"-S {' '.join(changes)}: not of the form section.key=value,value (an interval needs --trials)"
        ) from None


def _named(sweep: str, changes: tuple[str, ...]) -> Planned:
    digest = hashlib.sha256("\n".join(sorted(changes)).encode()).hexdigest()
    return Planned(f"{sweep}-{digest[:8]}", changes)


def check_changes(changes: Sequence[str]) -> Params:
    """The parameters of an experiment with `changes`. Raises `UserError` if they are not allowed."""
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(params.PATH, folder))
        blame = Path(f"-S {' -S '.join(changes)}")
        try:
            apply_overrides(copy, list(changes))
        except DvcException as error:
            cause: Any = error.__cause__ or error
            raise UserError(f"{blame}: {str(cause).splitlines()[0]}") from None
        return load_params(copy, blame=blame)
