"""The packed data set that every stage after split reads: one array of images and one table of labels."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cxr.core.files import read_csv, read_json, write_csv, write_json, write_npy, write_npy_rows
from cxr.core.outputs import missing_output

IMAGES = Path("data/images.npy")
LABELS = Path("data/labels.csv")
DESCRIPTION = Path("data/dataset.json")
OPACITIES = Path("data/opacities.npy")  # without rows where they are unknown
COLUMNS = ("row", "split", "class", "source", "sha256", "group")
LEVELS = np.arange(256)
SPLITS = ("train", "val", "test")
# Fewer images of a class are too few to measure on: of a sensitivity of .95 the 95 % interval (Wilson) then
# spans 20 percentage points or more.
SMALL = 25
Reading = Literal["medmnist", "plain"]  # see `cxr.data.reading`


@dataclass(frozen=True)
class Dataset:
    """images: (N, H, W) uint8, a memory map. labels: (N,) int64, indices into `classes`, which are in the
    order of `class_order`. splits: (N,) str. reading: how the images were made from radiographs, and others
    have to be read for a classifier of them. patients: (N,) int64, equal for images of one patient, where an
    image of an unknown patient is a patient of its own; None if the source knows no patients."""

    images: np.ndarray
    labels: np.ndarray
    classes: list[str]
    splits: np.ndarray
    reading: Reading
    patients: np.ndarray | None = None

    def rows(self, *splits: str) -> np.ndarray:
        """(n,) int64, ascending: the row numbers of the images in any of `splits`."""
        return np.flatnonzero(np.isin(self.splits, splits))


class ImageRows:
    """`images[rows]` of a memory map, (n, S, S) uint8, of which a slice is read when it is asked for, so that
    memory does not grow with the number of rows."""

    def __init__(self, images: np.ndarray, rows: np.ndarray) -> None:
        self.images, self.rows = images, rows
        self.shape = (len(rows), *images.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.images[self.rows[part]]


def hash_images(images: np.ndarray) -> list[str]:
    """SHA-256 of the grey levels of each image, (N, H, W) uint8, as 64 hexadecimal digits."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def save_dataset(
    images: np.ndarray,
    rows: Sequence[Sequence[object]],
    reading: Reading,
    opacities: np.ndarray | None = None,
    kept: np.ndarray | None = None,
) -> None:
    """images: (N, H, W) uint8. rows: split, class, source, sha256 and group of each image. opacities: see
    `load_opacities`. kept: the indices of the images and opacities to which `rows` belong; None: all."""
    write_json(DESCRIPTION, {"classes": class_order(str(row[1]) for row in rows), "reading": reading})
    for path, array in ((IMAGES, images), (OPACITIES, images[:0] if opacities is None else opacities)):
        if kept is None or not len(array):
            write_npy(path, array)
        else:
            write_npy_rows(path, array, kept)
    write_csv(LABELS, COLUMNS, [(number, *row) for number, row in enumerate(rows)])


def load_dataset(root: Path = Path()) -> Dataset:
    """The data set of data/ below `root`. Raises `UserError` if it has not been built."""
    for path in (IMAGES, LABELS, DESCRIPTION):
        if not (root / path).is_file():
            raise missing_output(path, "data set", root)
    table = read_csv(root / LABELS)
    description = read_json(root / DESCRIPTION)
    classes = description["classes"]
    return Dataset(
        images=np.load(root / IMAGES, mmap_mode="r"),
        labels=np.array([classes.index(row["class"]) for row in table], dtype=np.int64),
        classes=classes,
        splits=np.array([row["split"] for row in table]),
        reading=description["reading"],
        patients=_patients([row["group"] for row in table]),
    )


def _patients(groups: Sequence[str]) -> np.ndarray | None:
    if not any(groups):
        return None
    names = [("patient", group) if group else ("row", str(row)) for row, group in enumerate(groups)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def small_classes(counts: Mapping[str, int]) -> str:
    """The classes with fewer than `SMALL` images, in words: "6 of normal, 9 of pneumonia"; "" if there
    are none. counts: images of each class in a split."""
    few = [(count, name) for name, count in counts.items() if count < SMALL]
    return ", ".join(f"{count} of {name}" for count, name in few)


def load_opacities() -> np.ndarray | None:
    """(N, H, W) uint8, the grey levels that opacities add to each pixel of each image, or None if the source
    does not know them: only that of synthetic radiographs does.

    Raises `UserError` if the data set has not been built.
    """
    if not OPACITIES.is_file():
        raise missing_output(OPACITIES, "data set")
    opacities = np.load(OPACITIES)
    return opacities if len(opacities) else None


def count_levels(images: np.ndarray) -> np.ndarray:
    """The number of pixels of each grey level in `images`, (N, H, W) uint8. Returns (256,) float64."""
    counts = np.zeros(256)
    for start in range(0, len(images), 256):
        counts += np.bincount(images[start : start + 256].ravel(), minlength=256)
    return counts


def mean_and_std(counts: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of grey levels, 0 to 255. counts: (256,) float, as from `count_levels`."""
    mean = np.average(LEVELS, weights=counts)
    return float(mean), float(np.sqrt(np.average((LEVELS - mean) ** 2, weights=counts)))


def class_order(names: Iterable[str]) -> list[str]:
    """Distinct class names in the order of labels: those that deny a finding ("no pneumonia") first, then
    "normal" (in any case), the others alphabetically."""
    alphabetical = sorted(set(names), key=lambda name: (name.lower() != "normal", name))
    return sorted(alphabetical, key=lambda name: not name.lower().startswith("no "))
