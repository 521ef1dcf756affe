"""Fetch the data set that params.yaml names and store every picture of it, unchanged, in data/raw/."""

from pathlib import Path

import numpy as np

from cxr.core.errors import UserError, run
from cxr.data import manifest
from cxr.data.kaggle import read_pneumonia, read_three_class
from cxr.data.manifest import save_manifest
from cxr.data.own_folder import read_folder
from cxr.data.phantom.cohort import CLASSES, MAX_SIZE, make_phantoms
from cxr.data.pneumoniamnist import read_pneumoniamnist
from cxr.params import Phantom, load_params

# Shares of PneumoniaMNIST: how large each split is, and how many of its radiographs are normal.
PHANTOM_SPLITS = {"train": (0.804, 0.258), "val": (0.089, 0.258), "test": (0.107, 0.375)}


def main() -> None:
    params = load_params()
    size = params.download.size
    match params.download.source:
        case "pneumoniamnist":
            data = read_pneumoniamnist(size)
        case "chest_xray_pneumonia":
            data = read_pneumonia(size)
        case "chest_xray_3class":
            data = read_three_class(size)
        case "folder":
            data = read_folder(Path(params.download.folder), size)
        case "phantom":
            data = phantoms(params.phantom, size)
    save_manifest(data)
    print(f"{len(data.images):,} pictures of {size} x {size} pixels in {len(set(data.classes))} classes")


def phantoms(settings: Phantom, size: int) -> manifest.Raw:
    """Synthetic radiographs, split and imbalanced like PneumoniaMNIST; with three classes every other
    radiograph that is not normal shows tuberculosis.

    Raises `UserError` if `size` is larger than phantoms can be drawn.
    """
    if size > MAX_SIZE:
        raise UserError(f"params.yaml: download.size is {size}; phantoms have at most {MAX_SIZE} pixels")
    sizes = {split: round(settings.images * share) for split, (share, _) in PHANTOM_SPLITS.items()}
    sizes["test"] = settings.images - sizes["train"] - sizes["val"]
    parts, splits = [], []
    for split, images in sizes.items():
        normals = round(images * PHANTOM_SPLITS[split][1])
        others = images - normals
        ill = (others,) if settings.classes == 2 else (others - others // 2, others // 2)
        parts.append(make_phantoms((normals, *ill), size, settings.seed, split))
        splits += [split] * images
    labels = np.concatenate([part.labels for part in parts])
    patients = np.concatenate([part.patients for part in parts])
    return manifest.Raw(
        images=np.concatenate([part.images for part in parts]),
        classes=[CLASSES[label] for label in labels],
        sources=[f"phantom/{row}" for row in range(len(labels))],
        splits=splits,
        patients=[str(patient) for patient in patients],
    )


if __name__ == "__main__":
    run(main)
