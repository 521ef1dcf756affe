"""The packed data set that every stage after split reads: one array of images and one table of labels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxr.data.raw import class_order
from cxr.files import read_csv, write_csv, write_npy

IMAGES = Path("data/images.npy")
LABELS = Path("data/labels.csv")
COLUMNS = ("row", "split", "class", "source", "sha256", "group")


@dataclass(frozen=True)
class Packed:
    """images: (N, H, W) uint8, a memory map. labels: (N,) int64, index into `classes`. splits: (N,) str."""

    images: np.ndarray
    labels: np.ndarray
    classes: list[str]
    splits: np.ndarray

    def rows(self, *splits: str) -> np.ndarray:
        """Row numbers, ascending, of the films in any of `splits`."""
        return np.flatnonzero(np.isin(self.splits, splits))


def hash_images(images: np.ndarray) -> list[str]:
    """SHA-256 of each picture's grey levels: equal if and only if the stored pictures are byte-equal."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def save(images: np.ndarray, rows: Sequence[Sequence[object]]) -> None:
    """`rows` holds split, class, source, sha256 and group of each of the (N, H, W) uint8 `images`."""
    write_npy(IMAGES, images)
    write_csv(LABELS, COLUMNS, [(number, *row) for number, row in enumerate(rows)])


def load() -> Packed:
    table = read_csv(LABELS)
    classes = class_order(row["class"] for row in table)
    return Packed(
        images=np.load(IMAGES, mmap_mode="r"),
        labels=np.array([classes.index(row["class"]) for row in table], dtype=np.int64),
        classes=classes,
        splits=np.array([row["split"] for row in table]),
    )
