"""Fetch the data set named in params.yaml and store all its images in data/raw/."""

from pathlib import Path

import numpy as np

from cxr.core.errors import UserError, run
from cxr.data import manifest
from cxr.data.kaggle import read_pneumonia, read_three_class
from cxr.data.manifest import save_manifest
from cxr.data.medmnist import read_medmnist
from cxr.data.own_folder import read_folder
from cxr.data.phantom.cohort import CLASSES, MAX_SIZE, make_phantoms
from cxr.data.provenance import MEDMNIST
from cxr.data.table.source import read_table
from cxr.params import Phantom, load_params

# Of PneumoniaMNIST: the fraction of the images in each split, and the fraction of them that is normal.
PHANTOM_SPLITS = {"train": (0.804, 0.258), "val": (0.089, 0.258), "test": (0.107, 0.375)}


def main() -> None:
    params = load_params()
    size = params.download.size
    match params.download.source:
        case "chest_xray_pneumonia":
            data = read_pneumonia(size)
        case "chest_xray_3class":
            data = read_three_class(size)
        case "folder":
            data = read_folder(Path(params.download.folder), size)
        case "table":
            data = read_table(params.table, Path(params.download.folder), size)
        case "phantom":
            data = make_synthetic(params.phantom, size)
        case medmnist:
            data = read_medmnist(medmnist.removeprefix(MEDMNIST), size, Path(params.download.patients))
    save_manifest(data)
    print(f"{len(data.images):,} images of {size} x {size} pixels in {len(set(data.classes))} classes")


def make_synthetic(settings: Phantom, size: int) -> manifest.Raw:
    """Synthetic radiographs, split and imbalanced like PneumoniaMNIST; with three classes, half of those that
    are not normal show tuberculosis.

    Raises `UserError` if `size` is too large.
    """
    if size > MAX_SIZE:
        raise UserError(f"params.yaml: download.size is {size}; source phantom has at most {MAX_SIZE}")
    sizes = {split: round(settings.images * fraction) for split, (fraction, _) in PHANTOM_SPLITS.items()}
    sizes["test"] = settings.images - sizes["train"] - sizes["val"]
    parts, splits = [], []
    for split, images in sizes.items():
        normals = round(images * PHANTOM_SPLITS[split][1])
        others = images - normals
        diseased = (others,) if settings.classes == 2 else (others - others // 2, others // 2)
        parts.append(make_phantoms((normals, *diseased), size, settings.seed, split))
        splits += [split] * images
    labels = np.concatenate([part.labels for part in parts])
    patients = np.concatenate([part.patients for part in parts])
    return manifest.Raw(
        images=np.concatenate([part.images for part in parts]),
        classes=[CLASSES[label] for label in labels],
        sources=[f"phantom/{row}" for row in range(len(labels))],
        splits=splits,
        patients=[str(patient) for patient in patients],
        opacities=np.concatenate([part.opacities for part in parts]),
    )


if __name__ == "__main__":
    run(main)
