"""What a source hands to the split stage: every picture, with its class and where it came from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxr.core.files import read_csv, write_csv, write_npy

IMAGES = Path("data/raw/images.npy")
MANIFEST = Path("data/raw/manifest.csv")


@dataclass(frozen=True)
class Raw:
    """All pictures of a source.

    images: (N, H, W) uint8. classes, sources, splits, patients: N strings each; `splits` holds the
    source's own train, val or test and is empty where it has none, as is an unknown patient. A source
    without a val of its own has train and test.
    """

    images: np.ndarray
    classes: list[str]
    sources: list[str]
    splits: list[str]
    patients: list[str]


def save_manifest(raw: Raw) -> None:
    write_npy(IMAGES, raw.images)
    rows = zip(raw.splits, raw.classes, raw.sources, raw.patients, strict=True)
    write_csv(MANIFEST, ("split", "class", "source", "patient"), rows)


def load_manifest() -> Raw:
    rows = read_csv(MANIFEST)
    images = np.load(IMAGES, mmap_mode="r")
    columns = {name: [row[name] for row in rows] for name in ("class", "source", "split", "patient")}
    return Raw(images, columns["class"], columns["source"], columns["split"], columns["patient"])
