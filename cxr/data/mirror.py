"""Published files by URL and md5: from the folder CXR_MIRROR if it has them, else from the network."""

import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from cxr.errors import UserError

TIMEOUT = 30  # seconds without a byte


@contextmanager
def fetch(url: str, md5: str) -> Iterator[Path]:
    """Yield the path of the file behind `url`, checked; a downloaded copy is gone after the block.

    Raises `UserError` if neither the mirror nor the network has the file, or if its md5 is wrong.
    """
    name = Path(urlsplit(url).path).name
    mirror = os.environ.get("CXR_MIRROR")
    if mirror and (Path(mirror) / name).is_file():
        path = Path(mirror) / name
        _check(path, md5, f"{path} (from CXR_MIRROR)", "replace it by the published file")
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        _download(url, path, mirror)
        _check(path, md5, f"{name} from {url}", "try again; nothing was kept")
        yield path


def _check(path: Path, md5: str, what: str, remedy: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise UserError(f"{what} has md5 {found}, not {md5}; {remedy}")


def _download(url: str, path: Path, mirror: str | None) -> None:
    searched = f"it is not in CXR_MIRROR={mirror} either" if mirror else "CXR_MIRROR is not set"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, path.open("wb") as file:
            total = int(answer.headers.get("Content-Length") or 0)
            with tqdm.wrapattr(answer, "read", total=total or None, desc=path.name, disable=None) as body:
                shutil.copyfileobj(body, file, 1 << 20)
        if total and path.stat().st_size != total:
            raise OSError(f"stopped after {path.stat().st_size:,} of {total:,} bytes")
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"could not reach {url} ({reason}) and {searched}; go online, or download "
            f"{path.name} elsewhere and set CXR_MIRROR to its folder"
        ) from None
