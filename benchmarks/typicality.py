"""Proportion of images marked as unlike the training images: radiographs, altered ones, photographs, others.

    python -m benchmarks.typicality
    python -m benchmarks.typicality "adult, tuberculosis=../shared/data/cxr3_224.zip:tuberculosis"

Needs the data and the models of `dvc repro calibrate`; writes docs/typicality.csv and docs/typicality.md.
Other pictures are named as NAME=ZIP:CLASS: all image files of the archive in folders called
CLASS.

Photographs are those that scikit-image, scikit-learn and Matplotlib install with themselves, each whole and
as 29 random square crops of 25 to 100 % of its shorter side. They and the pictures of archives are read as
`cxr predict` reads a file. Altered radiographs are made of the stored pixels of test radiographs.
"""

import argparse
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import matplotlib.cbook
import numpy as np
import skimage.data
import sklearn.datasets
import torch
from PIL import Image

from cxr.core.dataset import Reading, load_dataset
from cxr.core.errors import UserError, run
from cxr.core.files import write_csv
from cxr.data.radiograph import SUFFIXES, read_original_bytes
from cxr.evaluation.statistics import wilson
from cxr.inference.typicality import LIMIT, PARTS, ValDistances
from cxr.inference.typicality_model import TypicalityModel, load_typicality, measure
from cxr.models.classifier import Classifier, load_classifier, predict

ROWS, TABLE = Path("docs/typicality.csv"), Path("docs/typicality.md")
COLUMNS = ("kind", "images", "unlike", "low", "high", *PARTS)
ALTERED = 200  # test radiographs, drawn at random, of each kind of alteration
CROPS = 29  # of each photograph
COLOUR = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "immunohistochemistry", "retina", "rocket")
GREY = ("brick", "camera", "coins", "grass", "gravel", "moon", "page", "text")
HEAD = """# Unlike the training images

Written by `python -m benchmarks.typicality`, whose docstring says how the pictures are made. An image is
marked if its typicality, a conformal p-value from val, is below {limit} ([how it is
computed](../cxr/inference/typicality_model.py)). `by pixels`, `by features`: the proportion that each of the
two distances would mark alone, at the same limit. Parentheses: 95 % Wilson interval over images; crops of a
photograph are not independent, so that of photographs is too narrow. Rows below the photographs, if any, are
archives named on the command line, which are not in the repository.

| images | number | marked | by pixels | by features |
|---|---|---|---|---|
"""
TAIL = """
- The measure was chosen on val, altered copies of val radiographs, the photographs of this table, and
  adult radiographs, for which it is therefore optimistic. Test was read after the choice, which stayed.
- No lateral radiographs were available here: whether they are marked is not known.
- Brightness and contrast are not judged by the pixels. The features judge them as far as the classifier does.
- An image that is not marked may still be unlike the training images: radiographs of other ages and hospitals
  are marked in part only, and the less a crop removes, the fewer are marked.
"""


def main() -> None:
    """Raises `UserError` if data or models have not been built, or if an archive is no such archive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archives", nargs="*", metavar="NAME=ZIP:CLASS")
    archives = [parsed(text) for text in parser.parse_args().archives]
    data, model, reference = load_dataset(), load_classifier(), load_typicality()
    size, reading = model.spec.size, model.spec.reading
    generator = np.random.default_rng(0)
    test = data.images[data.rows("test")]
    drawn = np.sort(generator.choice(len(test), min(ALTERED, len(test)), replace=False))
    kinds = {"val": data.images[data.rows("val")], "test": test}
    kinds |= altered(test[drawn], generator)
    kinds |= photographs(size, reading, generator)
    kinds |= {name: archived(path, folder, size, reading) for name, path, folder in archives}
    rows = share_marked(kinds, model, reference)
    write_csv(ROWS, COLUMNS, rows)
    TABLE.write_text(table(rows), encoding="utf-8")
    print(table(rows))


def share_marked(
    kinds: Mapping[str, np.ndarray], model: Classifier, reference: TypicalityModel
) -> list[tuple[Any, ...]]:
    """Rows of docs/typicality.csv. kinds: (N, size, size) uint8 each."""
    cpu = torch.device("cpu")
    rows: list[tuple[Any, ...]] = []
    for name, images in kinds.items():
        distances = measure(reference, model, images, predict(model, images, cpu), cpu)
        unlike = ValDistances(reference.val.numpy()).p_values(distances) < LIMIT
        shares = unlike.mean(axis=0)
        low, high = wilson(shares[0], len(images))
        rows.append((name, len(images), shares[0], float(low), float(high), *shares[1:]))
    return rows


def table(rows: list[tuple[Any, ...]]) -> str:
    """The content of docs/typicality.md."""
    lines = []
    for name, count, *shares in rows:
        unlike, low, high, pixels, features = (f"{100 * share:.1f} %" for share in shares)
        lines.append(f"| {name} | {count:,} | {unlike} ({low} to {high}) | {pixels} | {features} |")
    return HEAD.format(limit=LIMIT) + "\n".join(lines) + "\n" + TAIL


def altered(images: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """By kind (n, size, size) uint8. images: (N, size, size) uint8."""
    size = images.shape[1]
    levels = np.linspace(0, 255, 52).round().astype(np.uint8)[:, None, None]
    noise = generator.normal(size=(ALTERED, size, size)) * generator.choice([1, 4, 16, 64], (ALTERED, 1, 1))
    kinds = {
        "test, mirrored": images[:, :, ::-1],
        "test, inverted": 255 - images,
        "test, upside down": images[:, ::-1],
        "test, rotated by 180 degrees": images[:, ::-1, ::-1],
        "test, rotated by 90 degrees": np.rot90(images, axes=(1, 2)),
        "blank (black to white)": np.broadcast_to(levels, (len(levels), size, size)),
        "constant and noise": (generator.integers(0, 256, (ALTERED, 1, 1)) + noise)
        .clip(0, 255)
        .astype(np.uint8),
    }
    for fraction in (0.7, 0.5, 1 / 3):
        name = f"test, random crop of {100 * fraction:.0f} % of the side"
        kinds[name] = cropped(images, fraction, generator)
    kinds["test, squeezed to 60 % of the width"] = squeezed(images, 0.6)
    return kinds


def cropped(images: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """A random square of each image, enlarged to the image's size."""
    size = images.shape[1]
    side = round(fraction * size)
    corners = generator.integers(0, size - side + 1, (len(images), 2)).tolist()
    return np.stack(
        [
            np.asarray(
                Image.fromarray(image[y : y + side, x : x + side]).resize(
                    (size, size), Image.Resampling.BILINEAR
                )
            )
            for image, (y, x) in zip(images, corners, strict=True)
        ]
    )


def squeezed(images: np.ndarray, fraction: float) -> np.ndarray:
    """Each image made narrower, between black margins."""
    size = images.shape[1]
    width = round(fraction * size)
    result = np.zeros_like(images)
    left = (size - width) // 2
    for number, image in enumerate(images):
        narrow = Image.fromarray(image).resize((width, size), Image.Resampling.BILINEAR)
        result[number, :, left : left + width] = narrow
    return result


def photographs(size: int, reading: Reading, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """By kind (n, size, size) uint8: each photograph whole, then its crops."""
    colour = [getattr(skimage.data, name)() for name in COLOUR]
    colour += [skimage.data.stereo_motorcycle()[0], *sklearn.datasets.load_sample_images().images]
    colour.append(np.asarray(Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg"))))
    grey = [getattr(skimage.data, name)() for name in GREY]
    return {
        f"{len(pictures)} {name} photographs, whole and cropped": np.stack(
            [
                image
                for picture in pictures
                for image in pieces(Image.fromarray(picture), size, reading, generator)
            ]
        )
        for name, pictures in (("colour", colour), ("grey", grey))
    }


def pieces(
    picture: Image.Image, size: int, reading: Reading, generator: np.random.Generator
) -> list[np.ndarray]:
    """(size, size) uint8 each, read as the files that `cxr predict` is given."""
    parts = [picture]
    for _ in range(CROPS):
        side = int(min(picture.size) * generator.uniform(0.25, 1))
        x, y = (int(generator.integers(0, length - side + 1)) for length in picture.size)
        parts.append(picture.crop((x, y, x + side, y + side)))
    images = []
    for part in parts:
        file = io.BytesIO()
        part.save(file, "PNG")
        images.append(read_original_bytes(file.getvalue(), "photograph").resized(size, reading))
    return images


def parsed(text: str) -> tuple[str, Path, str]:
    """Name, archive and folder of NAME=ZIP:CLASS."""
    name, equals, rest = text.partition("=")
    path, colon, folder = rest.rpartition(":")
    if not (equals and colon and Path(path).is_file()):
        raise UserError(f"{text}: not NAME=ZIP:CLASS with an existing archive")
    return name, Path(path), folder


def archived(path: Path, folder: str, size: int, reading: Reading) -> np.ndarray:
    """(n, size, size) uint8: every radiograph of the archive whose folder is called `folder`."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(map(PurePosixPath, archive.namelist()))
        chosen = [name for name in names if name.parent.name == folder and name.suffix.lower() in SUFFIXES]
        if not chosen:
            raise UserError(f"{path}: no image file in a folder {folder}")
        return np.stack(
            [
                read_original_bytes(archive.read(str(name)), str(name)).resized(size, reading)
                for name in chosen
            ]
        )


if __name__ == "__main__":
    run(main)
