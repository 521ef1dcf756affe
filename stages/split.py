"""Give every picture its split, drop training pictures that leaked, and describe what each split holds."""

import numpy as np

from cxr import figures
from cxr.data import packed, raw
from cxr.data.histogram import count_levels, mean_and_std
from cxr.data.raw import SPLITS
from cxr.data.splitting import duplicates, leaked_into_train, stratified
from cxr.errors import UserError, run
from cxr.files import write_json
from cxr.params import Split, load


def main() -> None:
    params = load()
    source = raw.load()
    splits = assign(source, params.split)
    hashes = packed.hash_images(source.images)
    report = duplicates(hashes, splits, source.classes)
    dropped = leaked_into_train(hashes, splits) & params.split.drop_duplicates
    report["dropped_from_train"] = int(dropped.sum())

    kept = np.flatnonzero(~dropped)
    images = source.images[kept]
    table = [(splits[i], source.classes[i], source.sources[i], hashes[i], source.patients[i]) for i in kept]
    classes = raw.class_order(source.classes)
    labels = np.array([classes.index(row[1]) for row in table])
    where = np.array([row[0] for row in table])
    check_every_split(labels, where, classes)

    packed.save(images, table)
    counts = {s: {c: int(np.sum(labels[where == s] == i)) for i, c in enumerate(classes)} for s in SPLITS}
    intensity = {s: statistics(images[where == s]) for s in SPLITS}
    write_json("metrics/data.json", {"counts": counts, "intensity": intensity, "duplicates": report})
    figures.class_counts("plots/class_counts.png", counts, "Films of each class in each split")
    figures.sample_grid("plots/samples.png", images, labels, where, classes)
    print(", ".join(f"{split} {sum(of_class.values()):,}" for split, of_class in counts.items()))


def assign(source: raw.Raw, settings: Split) -> list[str]:
    """The split of each picture. Raises `UserError` if the source lacks what `settings` ask for."""
    if settings.method == "published":
        if not all(source.splits):
            raise UserError(
                "params.yaml: split.method is published, but this source has no splits of its own; "
                "set split.method to stratified"
            )
        return source.splits
    if settings.by_patient and not any(source.patients):
        raise UserError(
            "params.yaml: split.by_patient is true, but this source does not know its patients; "
            "add a patients.csv (columns file, patient) to the folder, or set it to false"
        )
    classes = raw.class_order(source.classes)
    labels = np.array([classes.index(name) for name in source.classes])
    groups = source.patients if settings.by_patient else [""] * len(labels)
    ratios = {split: getattr(settings.ratios, split) for split in SPLITS}
    return stratified(labels, groups, ratios, settings.seed)


def check_every_split(labels: np.ndarray, where: np.ndarray, classes: list[str]) -> None:
    for split in SPLITS:
        for label, name in enumerate(classes):
            if not np.any(labels[where == split] == label):
                raise UserError(
                    f"split {split} has no picture of class {name}; add pictures or change split.ratios"
                )


def statistics(images: np.ndarray) -> dict[str, float]:
    """Grey levels 0-255 over all pixels; `between_films` is the spread of the films' mean levels."""
    counts = count_levels(images)
    mean, std = mean_and_std(counts)
    low, median, high = np.searchsorted(np.cumsum(counts) / counts.sum(), [0.05, 0.5, 0.95])
    return {
        "mean": mean,
        "std": std,
        "p5": float(low),
        "median": float(median),
        "p95": float(high),
        "between_films": float(images.mean(axis=(1, 2)).std()),
    }


if __name__ == "__main__":
    run(main)
