"""Write docs/phantoms.png: the first ten synthetic radiographs of each class of seed 0, at 224 pixels."""

from cxr.data.phantom.cohort import CLASSES, make_phantoms
from cxr.figures.radiographs import image_rows

TEN = 10


def main() -> None:
    synthetic = make_phantoms((3 * TEN,) * len(CLASSES), 224, 0, "train")
    rows = {}
    for label, name in enumerate(CLASSES):
        images = synthetic.images[synthetic.labels == label]
        rows[name] = list(images[: TEN // 2])
        rows[f"{name} "] = list(images[TEN // 2 : TEN])  # a key of its own for the second row
    image_rows("docs/phantoms.png", rows, "Synthetic radiographs (digital phantoms), not patients")


if __name__ == "__main__":
    main()
