"""Write docs/phantoms.png: ten phantoms of each class, drawn at 224 pixels, the first ones of seed 0."""

from cxr.data.phantom.cohort import CLASSES, make_phantoms
from cxr.figures.radiographs import image_rows

TEN = 10


def main() -> None:
    images = make_phantoms((3 * TEN,) * len(CLASSES), 224, 0, "train")
    rows = {}
    for label, name in enumerate(CLASSES):
        mine = images.images[images.labels == label]
        rows[name] = list(mine[: TEN // 2])
        rows[f"{name} "] = list(mine[TEN // 2 : TEN])
    image_rows("docs/phantoms.png", rows, "Built-in phantoms, not patients")


if __name__ == "__main__":
    main()
