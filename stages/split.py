"""Assign every image to a split, drop leaked and contradictorily labelled images, and describe each split."""

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from cxr.core import dataset
from cxr.core.dataset import SPLITS, count_levels, load_dataset, mean_and_std, save_dataset
from cxr.core.errors import UserError, run
from cxr.core.files import write_json
from cxr.data import manifest
from cxr.data.manifest import load_manifest
from cxr.data.provenance import MEDMNIST, provenance_of
from cxr.data.splitting import (
    cut_val,
    duplicates,
    leaked_into_train,
    patients_of_splits,
    stratified,
    under_two_classes,
)
from cxr.figures import charts, radiographs
from cxr.figures.radiographs import image_rows
from cxr.params import Split, load_params


def main() -> None:
    params = load_params()
    published = load_manifest()
    source = train_alone(published) if params.split.method == "stratified_train" else published
    unused = len(published.classes) - len(source.classes)
    if params.download.source == "table":
        check_patients(source, params.split)
    splits = assign(source, params.split)
    hashes = dataset.hash_images(source.images)
    report = duplicates(hashes, splits, source.classes)
    conflicting = under_two_classes(hashes, source.classes)
    leaked = leaked_into_train(hashes, splits) & ~conflicting & params.split.drop_duplicates
    report["dropped_from_train"] = int(leaked.sum())
    report["dropped_under_two_classes"] = int(conflicting.sum())
    if any(source.patients):
        report["under_two_patients"] = under_two_patients(hashes, source.patients)

    kept = np.flatnonzero(~(leaked | conflicting))
    table = [(splits[i], source.classes[i], source.sources[i], hashes[i], source.patients[i]) for i in kept]
    classes = dataset.class_order(source.classes)
    labels = np.array([classes.index(row[1]) for row in table])
    of_split = np.array([row[0] for row in table])
    patients = patients_of_splits([row[4] for row in table], of_split.tolist())
    check_every_split(labels, of_split, classes)

    origin = provenance_of(params.download.source, params.table.layout)
    save_dataset(source.images, table, origin.reading, source.opacities, kept)
    images = load_dataset().images
    counts = {s: {c: int(np.sum(labels[of_split == s] == i)) for i, c in enumerate(classes)} for s in SPLITS}
    intensity = {s: statistics(images, of_split == s) for s in SPLITS}
    write_json(
        "metrics/data.json",
        {
            "source": {"id": params.download.source.removeprefix(MEDMNIST), **asdict(origin)},
            "counts": counts,
            "intensity": intensity,
            "duplicates": report,
        }
        | ({"patients": patients} if any(source.patients) else {})
        | ({"unused": unused} if unused else {})
        | ({"left_out": published.left_out} if published.left_out else {}),
    )
    charts.class_counts("plots/class_counts.png", counts, "Radiographs of each class in each split")
    radiographs.sample_grid("plots/samples.png", images, labels, of_split, classes)
    masks = {c: {s: (of_split == s) & (labels == i) for s in SPLITS} for i, c in enumerate(classes)}
    levels = {
        c: {s: levels_of(images, mask) for s, mask in by_split.items()} for c, by_split in masks.items()
    }
    charts.intensity("plots/intensity.png", levels, "Grey levels of each class in each split")
    means = {c: [mean_image(images, mask) for mask in by_split.values()] for c, by_split in masks.items()}
    heads = [f"{split}: {sum(of_class.values()):,} images" for split, of_class in counts.items()]
    image_rows("plots/mean_images.png", means, "Mean image of each class in each split", heads, side=2.6)
    print(", ".join(f"{split} {sum(of_class.values()):,}" for split, of_class in counts.items()))
    if copies := report.get("under_two_patients"):
        print(f"{copies:,} images are of two patients, pixel for pixel: check who they are of")
    if unused:
        print(f"not used: {unused:,} of the source's own val and test")
    print(f"dropped: {leaked.sum():,} of train also in val or test, {conflicting.sum():,} with two classes")


def train_alone(source: manifest.Raw) -> manifest.Raw:
    """The images of the source's own train. Raises `UserError` if it has none."""
    rows = np.flatnonzero(np.array(source.splits) == "train")
    if not len(rows):
        raise UserError(
            "params.yaml: split.method is stratified_train, but this source has no train of its own; "
            "set split.method to stratified"
        )
    return manifest.Raw(
        images=source.images[rows],
        classes=[source.classes[i] for i in rows],
        sources=[source.sources[i] for i in rows],
        splits=["train"] * len(rows),
        patients=[source.patients[i] for i in rows],
        opacities=None if source.opacities is None else source.opacities[rows],
    )


def assign(source: manifest.Raw, settings: Split) -> list[str]:
    """The split of each image. Raises `UserError` if `settings` need splits or patients that the source
    lacks."""
    classes = dataset.class_order(source.classes)
    labels = np.array([classes.index(name) for name in source.classes])
    ratios = {split: getattr(settings.ratios, split) for split in SPLITS}
    if settings.method == "published":
        if not all(source.splits):
            raise UserError(
                "params.yaml: split.method is published, but this source has no splits of its own; "
                "set split.method to stratified"
            )
        if "val" in source.splits:
            return source.splits
        fraction = ratios["val"] / (ratios["train"] + ratios["val"])
        return cut_val(source.splits, labels, source.patients, fraction, settings.seed)
    if settings.by_patient and not any(source.patients):
        raise UserError(
            "params.yaml: split.by_patient is true, but this source has no patient identifiers; "
            "add a patients.csv (columns file, patient) to the folder, or set it to false"
        )
    groups = source.patients if settings.by_patient else [""] * len(labels)
    return stratified(labels, groups, ratios, settings.seed)


def check_patients(source: manifest.Raw, settings: Split) -> None:
    """Raises `UserError` if patients are known and would be ignored."""
    if settings.method != "published" and any(source.patients) and not settings.by_patient:
        raise UserError(
            "params.yaml: split.by_patient is false, but the table names patients; set it to true, so that "
            "no patient is in two splits (or table.columns.patient to none)"
        )


def under_two_patients(hashes: list[str], patients: list[str]) -> int:
    """The number of images that another patient has, too, pixel for pixel. An unknown patient is none."""
    known = [row for row, patient in enumerate(patients) if patient]
    return int(under_two_classes([hashes[row] for row in known], [patients[row] for row in known]).sum())


def check_every_split(labels: np.ndarray, splits: np.ndarray, classes: list[str]) -> None:
    for split in SPLITS:
        for label, name in enumerate(classes):
            if not np.any(labels[splits == split] == label):
                raise UserError(
                    f"split {split} has no image of class {name}; add images or change split.ratios"
                )


def in_blocks(images: np.ndarray, mask: np.ndarray) -> Iterator[np.ndarray]:
    """The images of `mask`, (N,) bool, some at a time, so that memory does not grow with a memory map."""
    rows = np.flatnonzero(mask)
    for start in range(0, len(rows), 256):
        yield images[rows[start : start + 256]]


def levels_of(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The number of pixels of each grey level in the images of `mask`, (256,) float64."""
    return sum((count_levels(block) for block in in_blocks(images, mask)), np.zeros(256))


def mean_image(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W) uint8, of the images of `mask`."""
    total = sum(block.sum(axis=0, dtype=np.float64) for block in in_blocks(images, mask))
    return np.asarray(total / np.count_nonzero(mask)).astype(np.uint8)


def statistics(images: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Grey levels 0-255 over all pixels of the images of `mask`; `between_images` is the standard deviation
    of the images' means."""
    counts = levels_of(images, mask)
    means = np.concatenate([block.mean(axis=(1, 2)) for block in in_blocks(images, mask)])
    mean, std = mean_and_std(counts)
    low, median, high = np.searchsorted(np.cumsum(counts) / counts.sum(), [0.05, 0.5, 0.95])
    return {
        "mean": mean,
        "std": std,
        "p5": float(low),
        "median": float(median),
        "p95": float(high),
        "between_images": float(means.std()),
    }


if __name__ == "__main__":
    run(main)
