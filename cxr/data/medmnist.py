"""The grey, two-dimensional data sets with classes of MedMNIST v2, PneumoniaMNIST and six others, by the
URLs, md5 sums, counts and class names of the package `medmnist`.

Yang et al., 2023, https://doi.org/10.1038/s41597-022-01721-8; the radiographs of PneumoniaMNIST are of
Kermany et al., 2018.
"""

import csv
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cxr.core.dataset import SPLITS
from cxr.core.errors import UserError
from cxr.core.fetch import fetch_published, nearest
from cxr.core.files import read_csv
from cxr.data.manifest import Raw

NO_TABLE = Path("data/patients/README.md")  # in the place of a table of patients
CLASSES = (
    "binary-class",
    "multi-class",
)  # the values of `task` in `medmnist.INFO` where an image has one class


def read_medmnist(name: str, size: int, patients: Path = NO_TABLE) -> Raw:
    """The set `name` in the edition of `size` pixels (28, 64, 128 or 224) with its published splits, and with
    the patients of `patients` (see `name_patients`).

    Raises `UserError` for a set that has no classes or no grey images, another size, an unreachable file, a
    wrong md5, or unexpected contents.
    """
    info = medmnist_info(name)
    suffix = "" if size == 28 else f"_{size}"
    if f"url{suffix}" not in info:
        raise UserError(f"params.yaml: download.size is {size}; {name} has 28, 64, 128 and 224")
    with fetch_published(info[f"url{suffix}"], info[f"MD5{suffix}"]) as path:
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}: not a readable npz file ({error})") from None
        raw = unpack(arrays, size, info["n_samples"], info["label"], path.name)
    return raw if patients == NO_TABLE else replace(raw, patients=name_patients(patients, info["n_samples"]))


def medmnist_info(name: str) -> dict[str, Any]:
    """The entry `name` of `medmnist.INFO`: URLs, md5 sums, counts, class names, description and licence.

    Raises `UserError` for a set that is not there, or that this pipeline cannot use, with the reason.
    """
    from medmnist import INFO  # imports torchvision and pandas, so only where it is needed

    setting = f"params.yaml: download.source is medmnist:{name}, "
    reasons = {key: _unusable(info) for key, info in INFO.items()}
    usable = sorted(key for key, reason in reasons.items() if not reason)
    if name not in INFO:
        raise UserError(f"{setting}which MedMNIST does not have; did you mean {nearest(name, usable)}?")
    if reasons[name]:
        raise UserError(f"{setting}{reasons[name]}; there are {', '.join(usable)}")
    return INFO[name]


def _unusable(info: dict[str, Any]) -> str:
    """Why this pipeline cannot use a set; "" if it can."""
    if info["python_class"].endswith("3D"):
        return "whose images are three-dimensional"
    if info["task"] not in CLASSES:
        kind = "several findings" if info["task"].startswith("multi-label") else "a grade"
        return f"which gives an image {kind} ({info['task']}) instead of one class"
    return "" if info["n_channels"] == 1 else "whose images are in colour, and this pipeline reads grey ones"


def name_patients(table: Path, counts: dict[str, int]) -> list[str]:
    """The patient of each image, train before val before test, "" where it is unknown.

    table: CSV with the columns split, index and patient (data/patients/README.md). counts: images by split.
    Raises `UserError` for a table without these columns, for a row that is of no image, and for two rows of
    one image.
    """
    if not table.is_file():
        raise UserError(f"params.yaml: download.patients: {table}: no such file")
    try:
        rows = read_csv(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: not a CSV table ({error})") from None
    if not rows or not {"split", "index", "patient"} <= rows[0].keys():
        raise UserError(f"{table}: needs rows, and the columns split, index and patient")
    known: dict[tuple[str, str], str] = {}
    images = [(split, str(index)) for split in SPLITS for index in range(counts[split])]
    for line, row in enumerate(rows, start=2):
        image = row["split"], row["index"]
        if image in known:
            raise UserError(f"{table}: line {line}: a second row of {image[0]} {image[1]}")
        known[image] = (row["patient"] or "").strip()
    if unknown := sorted(set(known) - set(images), key=str):
        raise UserError(f"{table}: {' '.join(map(str, unknown[0]))} is no image of the data set")
    if not any(known.values()):
        raise UserError(f"{table}: names no patient")
    return [known.get(image, "") for image in images]


def unpack(
    arrays: dict[str, np.ndarray], size: int, counts: dict[str, int], names: dict[str, str], file: str
) -> Raw:
    """The npz's arrays `<split>_images` (N, size, size) uint8 and `<split>_labels` (N, 1) as a `Raw`.

    counts: images by split. names: class names by label. Altered copies of this set are in circulation, so
    shapes, counts and labels are checked. Raises `UserError` for a difference.
    """
    images, classes, sources, splits = [], [], [], []
    for split in SPLITS:
        of_split, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_labels")
        expected = (counts[split], size, size)
        if of_split is None or of_split.shape != expected or of_split.dtype != np.uint8:
            actual = "nothing" if of_split is None else f"{of_split.dtype} {of_split.shape}"
            raise UserError(f"{file}: {split}_images holds {actual}, not uint8 {expected}: an altered copy?")
        if labels is None:
            raise UserError(f"{file}: {split}_labels are missing: an altered copy?")
        codes = [str(code) for code in labels.ravel()]
        if len(codes) != counts[split] or not set(codes) <= set(names):
            raise UserError(
                f"{file}: {split}_labels do not fit {counts[split]} images of {len(names)} classes"
            )
        images.append(of_split)
        classes += [names[code] for code in codes]
        sources += [f"{file}/{split}/{index}" for index in range(len(codes))]
        splits += [split] * len(codes)
    return Raw(np.concatenate(images), classes, sources, splits, [""] * len(classes))
