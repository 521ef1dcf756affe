"""metrics/predictions.csv: what the released model and each of its members say of every val and test
image."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxr.core.dataset import class_order
from cxr.core.files import read_csv, write_csv

PATH = Path("metrics/predictions.csv")


@dataclass(frozen=True)
class Predictions:
    """rows, labels: (N,) int. splits: (N,) str. ensemble: (N, C) and members: (M, N, C) float64
    probabilities, all with the released temperature."""

    classes: list[str]
    rows: np.ndarray
    splits: np.ndarray
    labels: np.ndarray
    ensemble: np.ndarray
    members: np.ndarray

    def of(self, split: str) -> "Predictions":
        mine = self.splits == split
        return Predictions(
            self.classes,
            self.rows[mine],
            self.splits[mine],
            self.labels[mine],
            self.ensemble[mine],
            self.members[:, mine],
        )


def save_predictions(predictions: Predictions, path: Path = PATH) -> None:
    names = predictions.classes
    header = ["row", "split", "label", *(f"p_{name}" for name in names)]
    header += [f"m{i}_p_{name}" for i in range(len(predictions.members)) for name in names]
    probabilities = np.concatenate([predictions.ensemble, *predictions.members], axis=1)
    write_csv(
        path,
        header,
        (
            (row, split, names[label], *values)
            for row, split, label, values in zip(
                predictions.rows, predictions.splits, predictions.labels, probabilities, strict=True
            )
        ),
    )


def load_predictions(path: Path = PATH) -> Predictions:
    table = read_csv(path)
    columns = [name for name in table[0] if name.startswith("p_")]
    classes = class_order(name.removeprefix("p_") for name in columns)
    count = sum(name.startswith("m") and name.endswith(f"_p_{classes[0]}") for name in table[0])

    def matrix(prefix: str) -> np.ndarray:
        return np.array([[float(row[f"{prefix}p_{name}"]) for name in classes] for row in table])

    return Predictions(
        classes,
        rows=np.array([int(row["row"]) for row in table]),
        splits=np.array([row["split"] for row in table]),
        labels=np.array([classes.index(row["label"]) for row in table]),
        ensemble=matrix(""),
        members=np.stack([matrix(f"m{i}_") for i in range(count)]),
    )
