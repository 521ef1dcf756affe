"""Two data sets of kaggle.com that keep their radiographs in the folders <split>/<class>/: from the folder
CXR_MIRROR if it has them, else through kagglehub and its cache.

`chest_xray_pneumonia`: the original radiographs of PneumoniaMNIST (Kermany et al., 2018,
https://doi.org/10.1016/j.cell.2018.02.010, CC BY 4.0), children of one hospital.
`chest_xray_3class`: normal, pneumonia and tuberculosis, compiled from other sets. Class and source go
together in it, so what a classifier learns there may be the source.

https://github.com/Kaggle/kagglehub checks what it downloads by md5 and keeps it in ~/.cache/kagglehub.
"""

import hashlib
import re
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

from cxr.core.dataset import SPLITS
from cxr.core.errors import UserError
from cxr.core.fetch import in_mirror, searched
from cxr.data.folders import (
    RadiographFile,
    check_classes,
    list_radiographs,
    read_radiographs,
    split_folders,
    subfolders,
)
from cxr.data.manifest import Raw

PNEUMONIA = "paultimothymooney/chest-xray-pneumonia/versions/2"
THREE_CLASS = "muhammadrehan00/chest-xray-dataset"
PNEUMONIA_COUNTS = {
    "train": {"normal": 1341, "pneumonia": 3875},
    "val": {"normal": 8, "pneumonia": 8},
    "test": {"normal": 234, "pneumonia": 390},
}
# Of the sorted lines <split>/<class>/<file name>, folders in lower case, joined by newlines. Names and not
# pixels, so that a copy in other sizes is still this set.
PNEUMONIA_NAMES_SHA256 = "943a579a971d361b108e363a65ab318387d4070746e4340df68da8da1454b44b"
PATIENT = re.compile(r"((?:NORMAL2-)?IM-\d+|person\d+_(?:bacteria|virus))[-_].*")


@contextmanager
def fetch_tree(handle: str) -> Iterator[Path]:
    """Yield the folder of the data set `handle` that holds train, val and test.

    handle: owner/name or owner/name/versions/N, as kagglehub takes it. The mirror may have the data set as
    the folder `name` or as the archive `name.zip`, which is unpacked for the time of the block. Raises
    `UserError` if neither the mirror, kagglehub's cache nor Kaggle has it, or if it cannot be unpacked.
    """
    name = handle.split("/")[1]
    folder, archive = in_mirror(name), in_mirror(f"{name}.zip")
    if folder and folder.is_dir():
        yield find_splits(folder)
    elif archive and archive.is_file():
        with tempfile.TemporaryDirectory() as temporary:
            # Named after the archive, so that whoever reads of a damaged picture in it knows where it is.
            _unpack(archive, Path(temporary) / archive.name)
            yield find_splits(Path(temporary) / archive.name)
    else:
        yield find_splits(_download(handle, name))


def find_splits(folder: Path) -> Path:
    """The folder nearest to `folder`, itself included, that holds train, val and test in either case.

    Kaggle's archives wrap the three in other folders, and may hold a second copy of them further down:
    chest-xray-pneumonia has chest_xray/train, chest_xray/chest_xray/train and chest_xray/__MACOSX.
    """
    level = [folder]
    while level:
        found = [path for path in level if len(split_folders(path)) == len(SPLITS)]
        if len(found) > 1:
            raise UserError(f"{folder}: {found[0].name} and {found[1].name} both hold train, val and test")
        if found:
            return found[0]
        level = [child for path in level for child in subfolders(path)]
    raise UserError(f"{folder}: no folder in it holds train, val and test")


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{archive} (from CXR_MIRROR): cannot be unpacked ({error})") from None


def _download(handle: str, name: str) -> Path:
    import kagglehub  # takes a second to import: only where it is needed
    from kagglehub.exceptions import DataCorruptionError

    page = "https://www.kaggle.com/datasets/" + "/".join(handle.split("/")[:2])
    try:
        return Path(kagglehub.dataset_download(handle))
    except (OSError, ValueError, zipfile.BadZipFile, DataCorruptionError) as error:
        answer = getattr(error, "response", None)  # of requests.HTTPError, which is an OSError
        if answer is not None and answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            reason = f"refused with status {answer.status_code}"
            remedy = (
                f"accept its terms at {page} and put a token of https://www.kaggle.com/settings/api into "
                "KAGGLE_API_TOKEN or ~/.kaggle/access_token"
            )
        else:
            reason, remedy = " ".join(str(error).split()), "go online"
        raise UserError(
            f"could not fetch {handle} from Kaggle ({reason}) and {searched()}; {remedy}, or download {page} "
            f"elsewhere as {name}.zip and set CXR_MIRROR to its folder"
        ) from None


def read_pneumonia(size: int) -> Raw:
    """The 5,856 radiographs of `chest_xray_pneumonia` as (size, size) uint8, with their patients.

    The 16 radiographs of the published val are too few to choose anything by: they are handed on as train,
    and the split stage cuts a val from it by patient. Raises `UserError` for a set that cannot be had, or
    whose counts or file names are not the published ones: altered copies are in circulation.
    """
    with fetch_tree(PNEUMONIA) as root:
        images = _images(root, ("normal", "pneumonia"))
        check_pneumonia(root, images)
        data = _read(root, images, size)
    return replace(
        data,
        splits=["train" if split == "val" else split for split in data.splits],
        patients=[patient(image.path.name) for image in images],
    )


def read_three_class(size: int) -> Raw:
    """The radiographs of `chest_xray_3class` as (size, size) uint8, with the published splits.

    Its counts are known only roughly (about 25,500 radiographs, of which about 925, 580 and 1,064 in test),
    so they are not checked. Raises `UserError` for a set that cannot be had, or lacks a class in a split.
    """
    with fetch_tree(THREE_CLASS) as root:
        return _read(root, _images(root, ("normal", "pneumonia", "tuberculosis")), size)


def check_pneumonia(root: Path, images: Sequence[RadiographFile]) -> None:
    """Raises `UserError` unless `images` has the published counts and file names."""
    remedy = "an altered copy? Take the published set"
    counts = Counter((image.split, image.category) for image in images)
    for split, of_class in PNEUMONIA_COUNTS.items():
        for name, due in of_class.items():
            if counts[split, name] != due:
                raise UserError(
                    f"{root}: {split} has {counts[split, name]:,} radiographs of {name}, not {due:,}; {remedy}"
                )
    names = sorted(f"{image.split}/{image.category}/{image.path.name}" for image in images)
    found = hashlib.sha256("\n".join(names).encode()).hexdigest()
    if found != PNEUMONIA_NAMES_SHA256:
        raise UserError(f"{root}: its file names have sha256 {found}, not {PNEUMONIA_NAMES_SHA256}; {remedy}")


def patient(name: str) -> str:
    """The patient of a radiograph of `chest_xray_pneumonia`: series or type of infection, and number.

    The numbers alone are no key: IM-0115 and NORMAL2-IM-0115 are two children, as are person886_virus and
    person886_bacteria, and 264 bare numbers stand both in train and in test.
    """
    match = PATIENT.fullmatch(name)
    if not match:
        raise UserError(f"{name}: no file name of chest_xray_pneumonia, so its patient is unknown")
    return match[1]


def _images(root: Path, classes: Sequence[str]) -> list[RadiographFile]:
    """The radiographs of the published splits, with the names of the class folders in lower case."""
    images = [
        image._replace(category=image.category.lower())
        for split, folder in split_folders(root).items()
        for image in list_radiographs(folder, split)
    ]
    check_classes(root, SPLITS, images)
    found = sorted({image.category for image in images})
    if found != sorted(classes):
        raise UserError(f"{root}: its classes are {', '.join(found)}, not {', '.join(classes)}")
    return images


def _read(root: Path, images: Sequence[RadiographFile], size: int) -> Raw:
    return Raw(
        images=read_radiographs(images, size),
        classes=[image.category for image in images],
        sources=[image.path.relative_to(root).as_posix() for image in images],
        splits=[image.split for image in images],
        patients=[""] * len(images),
    )
