"""The output of the stage download: every image of a source, with its class, origin and patient."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxr.core.files import read_csv, read_json, write_csv, write_json, write_npy

IMAGES = Path("data/raw/images.npy")
MANIFEST = Path("data/raw/manifest.csv")
OPACITIES = Path("data/raw/opacities.npy")  # without rows where they are unknown
LEFT_OUT = Path("data/raw/left_out.json")


@dataclass(frozen=True)
class Raw:
    """All images of a source.

    images: (N, H, W) uint8, possibly a memory map of `IMAGES`. classes, sources, splits, patients: N strings
    each. sources: the file, or the position in an archive, that an image comes from. splits: the published
    train, val or test, empty if the source has no splits; a source without a val has train and test.
    patients: empty where unknown. opacities: (N, H, W) uint8, the grey levels that opacities add to each
    pixel, or None if the source does not know them. left_out: what the source has and is not used, for
    metrics/data.json; {} if all is used.
    """

    images: np.ndarray
    classes: list[str]
    sources: list[str]
    splits: list[str]
    patients: list[str]
    opacities: np.ndarray | None = None
    left_out: dict[str, Any] = field(default_factory=dict)


def save_manifest(raw: Raw) -> None:
    if getattr(raw.images, "filename", None) != IMAGES.absolute():  # there already, after a conversion
        write_npy(IMAGES, raw.images)
    write_json(LEFT_OUT, raw.left_out)
    write_npy(OPACITIES, raw.images[:0] if raw.opacities is None else raw.opacities)
    rows = zip(raw.splits, raw.classes, raw.sources, raw.patients, strict=True)
    write_csv(MANIFEST, ("split", "class", "source", "patient"), rows)


def load_manifest() -> Raw:
    rows = read_csv(MANIFEST)
    images, opacities = (np.load(path, mmap_mode="r") for path in (IMAGES, OPACITIES))
    columns = {name: [row[name] for row in rows] for name in ("class", "source", "split", "patient")}
    return Raw(
        images=images,
        classes=columns["class"],
        sources=columns["source"],
        splits=columns["split"],
        patients=columns["patient"],
        opacities=opacities if len(opacities) else None,
        left_out=read_json(LEFT_OUT),
    )
