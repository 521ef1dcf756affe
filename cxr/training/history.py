"""The learning curve of each member, readable while members train.

A member in its own process writes .resume/<key>/history_<i>.csv after each epoch; one process alone, that of
the stage, joins them as models/history.csv, so that no two write the same file.
"""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from cxr.core.files import read_csv, write_csv
from cxr.core.resuming import FOLDER

HISTORY = Path("models/history.csv")
# Train and val are measured in the same way: equally many unaugmented images, without class weights or label
# smoothing. released: 1 for the epoch whose weights are released, else 0; 0 for all until training ends.
HISTORY_COLUMNS = (
    *("member", "epoch", "lr", "train_nll", "val_nll", "train_accuracy", "val_accuracy"),
    "released",
)


def save_epochs(resume_key: str, member: int, epochs: Sequence[Sequence[float]]) -> None:
    """epochs: finished ones of this member, rows of `HISTORY_COLUMNS` without the last column. Raises
    `UserError` if the disk is full."""
    write_csv(FOLDER / resume_key / f"history_{member}.csv", HISTORY_COLUMNS, [(*row, 0) for row in epochs])


class HistoryBar(tqdm):
    """A progress bar that writes `HISTORY` at each step, from what the members of `resume_key` have saved."""

    def __init__(self, resume_key: str, members: int, **settings: object) -> None:
        self.paths = [FOLDER / resume_key / f"history_{member}.csv" for member in range(members)]
        super().__init__(**settings)

    def update(self, n: float | None = 1) -> bool | None:
        rows = [row.values() for path in self.paths if path.is_file() for row in read_csv(path)]
        write_csv(HISTORY, HISTORY_COLUMNS, [list(row) for row in rows])
        return super().update(n)
