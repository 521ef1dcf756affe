"""metrics/predictions.csv: the probabilities of the released model and of each of its members for every val
and test radiograph."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxr.core import dataset
from cxr.core.dataset import Dataset, class_order
from cxr.core.errors import UserError
from cxr.core.files import write_csv

PATH = Path("metrics/predictions.csv")
DIGITS = 16  # of a hash; two of a million images agree in them by chance once in 40 million data sets


@dataclass(frozen=True)
class Predictions:
    """rows, labels: (N,) int, the data set's row and the index into `classes`. splits: (N,) str. ensemble:
    (N, C) and members: (M, N, C) float64, calibrated probabilities, all with the released temperature.
    hashes: (N,) str, the first `DIGITS` digits of the SHA-256 of the image. patients: (N,) int, equal for
    images of one patient; None if the source does not know them. Both are None in files of old runs."""

    classes: list[str]
    rows: np.ndarray
    splits: np.ndarray
    labels: np.ndarray
    ensemble: np.ndarray
    members: np.ndarray
    hashes: np.ndarray | None = None
    patients: np.ndarray | None = None

    def of(self, split: str) -> "Predictions":
        return self.at(np.flatnonzero(self.splits == split))

    def at(self, positions: np.ndarray) -> "Predictions":
        """The images at `positions`, (n,) int, in this order."""
        return Predictions(
            self.classes,
            self.rows[positions],
            self.splits[positions],
            self.labels[positions],
            self.ensemble[positions],
            self.members[:, positions],
            None if self.hashes is None else self.hashes[positions],
            None if self.patients is None else self.patients[positions],
        )


def save_predictions(predictions: Predictions, path: Path = PATH) -> None:
    names = predictions.classes
    header = ["row", "split", "label"]
    known = {"sha256": predictions.hashes, "patient": predictions.patients}
    header += [name for name, column in known.items() if column is not None]
    extra = list(zip(*(column for column in known.values() if column is not None), strict=True))
    header += [f"p_{name}" for name in names]
    header += [f"m{i}_p_{name}" for i in range(len(predictions.members)) for name in names]
    probabilities = np.concatenate([predictions.ensemble, *predictions.members], axis=1)
    write_csv(
        path,
        header,
        (
            (row, split, names[label], *of_image, *values)
            for row, split, label, of_image, values in zip(
                *(predictions.rows, predictions.splits, predictions.labels),
                *(extra or [()] * len(predictions.rows), probabilities),
                strict=True,
            )
        ),
    )


def load_predictions(path: Path = PATH) -> Predictions:
    return parse_predictions(path.read_bytes().decode("utf-8"))


def parse_predictions(text: str) -> Predictions:
    """The predictions in the content of a predictions.csv.

    Raises `ValueError` if it is not what `save_predictions` writes.
    """
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    try:
        columns = list(table[0])
        classes = class_order(name.removeprefix("p_") for name in columns if name.startswith("p_"))
        count = sum(name.startswith("m") and name.endswith(f"_p_{classes[0]}") for name in columns)
        return Predictions(
            classes,
            rows=np.array([int(row["row"]) for row in table]),
            splits=np.array([row["split"] for row in table]),
            labels=np.array([classes.index(row["label"]) for row in table]),
            ensemble=_matrix(table, "", classes),
            members=np.stack([_matrix(table, f"m{i}_", classes) for i in range(count)]),
            hashes=np.array([row["sha256"] for row in table]) if "sha256" in columns else None,
            patients=np.array([int(row["patient"]) for row in table]) if "patient" in columns else None,
        )
    except (LookupError, TypeError, ValueError) as error:  # TypeError: a line that is too short
        raise ValueError("not a table of predictions") from error


def _matrix(table: list[dict[str, str]], prefix: str, classes: list[str]) -> np.ndarray:
    return np.array([[float(row[f"{prefix}p_{name}"]) for name in classes] for row in table])


def check_predictions(
    test: Predictions, data: Dataset, members: int | None = None, split: str = "test"
) -> None:
    """Raises `UserError` unless the rows of `split` in `test` are exactly those of `split` in `data`, with
    the same classes and labels, predicted by a classifier of `members` members (None: any number)."""
    predicted, rows = test.of(split), data.rows(split)
    for what, same in (
        ("rows", np.array_equal(predicted.rows, rows)),
        ("classes", predicted.classes == data.classes),
        ("labels", np.array_equal(predicted.labels, data.labels[rows])),
        ("members", members is None or len(predicted.members) == members),
    ):
        if not same:
            raise UserError(
                f"{PATH} does not belong to {dataset.LABELS}: other {what}; run `dvc repro evaluate`"
            )
