"""Data sets of kaggle.com: from the folder CXR_MIRROR if it has them, else through kagglehub and its cache.

https://github.com/Kaggle/kagglehub checks what it downloads by md5 and keeps it in ~/.cache/kagglehub.
"""

import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from cxr.data.raw import SPLITS
from cxr.data.tree import split_folders, subfolders
from cxr.errors import UserError


@contextmanager
def fetch_tree(handle: str) -> Iterator[Path]:
    """Yield the folder of the data set `handle` that holds train, val and test.

    handle: owner/name or owner/name/versions/N, as kagglehub takes it. The mirror may have the data set as
    the folder `name` or as the archive `name.zip`, which is unpacked for the time of the block. Raises
    `UserError` if neither the mirror, kagglehub's cache nor Kaggle has it, or if it cannot be unpacked.
    """
    name = handle.split("/")[1]
    mirror = os.environ.get("CXR_MIRROR")
    folder = Path(mirror or "") / name
    archive = Path(mirror or "") / f"{name}.zip"
    if mirror and folder.is_dir():
        yield find_splits(folder)
    elif mirror and archive.is_file():
        with tempfile.TemporaryDirectory() as temporary:
            # Named after the archive, so that whoever reads of a damaged picture in it knows where it is.
            _unpack(archive, Path(temporary) / archive.name)
            yield find_splits(Path(temporary) / archive.name)
    else:
        yield find_splits(_download(handle, name, mirror))


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


def _download(handle: str, name: str, mirror: str | None) -> Path:
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
        searched = f"it is not in CXR_MIRROR={mirror} either" if mirror else "CXR_MIRROR is not set"
        raise UserError(
            f"could not fetch {handle} from Kaggle ({reason}) and {searched}; {remedy}, or download {page} "
            f"elsewhere as {name}.zip and set CXR_MIRROR to its folder"
        ) from None
