"""Two data sets of kaggle.com with radiographs in the folders <split>/<class>/: from the folder CXR_MIRROR if
it has them, otherwise through kagglehub and its cache.

`chest_xray_pneumonia`: the original radiographs of PneumoniaMNIST (Kermany et al., 2018,
https://doi.org/10.1016/j.cell.2018.02.010, CC BY 4.0), children of one hospital.
`chest_xray_3class`: normal, pneumonia and tuberculosis, compiled from other sets. Class and source are
confounded, so a classifier may learn the source instead of the disease.

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
    labelled_radiographs,
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
# Of the sorted lines <split>/<class>/<file name>, folders in lower case, joined by newlines. Of names instead
# of pixels, so that a resized copy is still this set.
PNEUMONIA_NAMES_SHA256 = "943a579a971d361b108e363a65ab318387d4070746e4340df68da8da1454b44b"
MAX_RATIO = 10  # of an archive's unpacked size to its own; PNG and JPEG files, compressed already, give 1
PATIENT = re.compile(r"((?:NORMAL2-)?IM-\d+|person\d+_(?:bacteria|virus))[-_].*")


@contextmanager
def fetch_tree(handle: str) -> Iterator[Path]:
    """Yield the folder of the data set `handle` that holds train, val and test.

    handle: owner/name or owner/name/versions/N, as in kagglehub. The mirror may have the data set as the
    folder `name` or as the archive `name.zip`, which is unpacked for the duration of the block. Raises
    `UserError` if neither the mirror, kagglehub's cache nor Kaggle has it, or if it cannot be unpacked.
    """
    name = handle.split("/")[1]
    folder, archive = in_mirror(name), in_mirror(f"{name}.zip")
    if folder and folder.is_dir():
        yield find_splits(folder)
    elif archive and archive.is_file():
        with tempfile.TemporaryDirectory() as temporary:
            # Named after the archive, so that errors about a damaged file in it show where it is.
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
        complete = [path for path in level if len(split_folders(path)) == len(SPLITS)]
        if len(complete) > 1:
            names = f"{complete[0].name} and {complete[1].name}"
            raise UserError(f"{folder}: {names} both hold train, val and test")
        if complete:
            return complete[0]
        level = [child for path in level for child in subfolders(path)]
    raise UserError(f"{folder}: no folder in it holds train, val and test")


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            # zipfile reads no more of a member than its header states, so that this bounds what is written.
            size, most = (
                sum(member.file_size for member in file.infolist()),
                MAX_RATIO * archive.stat().st_size,
            )
            if size > most:
                reason = f"would unpack to {size:,} bytes, over {MAX_RATIO} times its size; not radiographs"
                raise UserError(f"{archive} (from CXR_MIRROR): {reason}")
            file.extractall(folder)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{archive} (from CXR_MIRROR): cannot be unpacked ({error})") from None


def _download(handle: str, name: str) -> Path:
    import kagglehub  # takes a second to import, so only where it is needed
    from kagglehub.exceptions import DataCorruptionError

    page = "https://www.kaggle.com/datasets/" + "/".join(handle.split("/")[:2])
    try:
        return Path(kagglehub.dataset_download(handle))
    except (OSError, ValueError, zipfile.BadZipFile, DataCorruptionError) as error:
        response = getattr(error, "response", None)  # of requests.HTTPError, which is an OSError
        if response is not None and response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            reason = f"status {response.status_code}"
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

    The 16 radiographs of the published val are too few for model selection: they become part of train, from
    which the stage split separates a new val by patient. Raises `UserError` if the set is unavailable, or if
    its counts or file names are not the published ones: altered copies are in circulation.
    """
    with fetch_tree(PNEUMONIA) as root:
        files = _files(root, ("normal", "pneumonia"))
        check_pneumonia(root, files)
        data = _read(root, files, size)
    return replace(
        data,
        splits=["train" if split == "val" else split for split in data.splits],
        patients=[patient(file.path.name) for file in files],
    )


def read_three_class(size: int) -> Raw:
    """The radiographs of `chest_xray_3class` as (size, size) uint8, with the published splits.

    Its counts are known only roughly (about 25,500 radiographs, of which about 925, 580 and 1,064 in test),
    so they are not checked. Raises `UserError` if the set is unavailable, or lacks a class in a split.
    """
    with fetch_tree(THREE_CLASS) as root:
        return _read(root, _files(root, ("normal", "pneumonia", "tuberculosis")), size)


def check_pneumonia(root: Path, files: Sequence[RadiographFile]) -> None:
    """Raises `UserError` unless `files` have the published counts and file names."""
    remedy = "an altered copy? Take the published set"
    counts = Counter((file.split, file.category) for file in files)
    for split, of_class in PNEUMONIA_COUNTS.items():
        for name, expected in of_class.items():
            count = counts[split, name]
            if count != expected:
                raise UserError(
                    f"{root}: {split} has {count:,} radiographs of {name}, not {expected:,}; {remedy}"
                )
    names = sorted(f"{file.split}/{file.category}/{file.path.name}" for file in files)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    if digest != PNEUMONIA_NAMES_SHA256:
        raise UserError(
            f"{root}: its file names have sha256 {digest}, not {PNEUMONIA_NAMES_SHA256}; {remedy}"
        )


def patient(name: str) -> str:
    """The patient of a radiograph of `chest_xray_pneumonia`: series or type of infection, and number.

    The number alone does not identify a patient: IM-0115 and NORMAL2-IM-0115 are two children, as are
    person886_virus and person886_bacteria, and 264 numbers occur both in train and in test.
    """
    match = PATIENT.fullmatch(name)
    if not match:
        raise UserError(f"{name}: not a file name of chest_xray_pneumonia, so its patient is unknown")
    return match[1]


def _files(root: Path, classes: Sequence[str]) -> list[RadiographFile]:
    """The radiographs of the published splits, with the names of the class folders in lower case."""
    files = [
        file._replace(category=file.category.lower())
        for split, folder in split_folders(root).items()
        for file in labelled_radiographs(folder, split)
    ]
    check_classes(root, SPLITS, files)
    names = sorted({file.category for file in files})
    if names != sorted(classes):
        raise UserError(f"{root}: its classes are {', '.join(names)}, not {', '.join(classes)}")
    return files


def _read(root: Path, files: Sequence[RadiographFile], size: int) -> Raw:
    return Raw(
        images=read_radiographs(files, size),
        classes=[file.category for file in files],
        sources=[file.path.relative_to(root).as_posix() for file in files],
        splits=[file.split for file in files],
        patients=[""] * len(files),
    )
