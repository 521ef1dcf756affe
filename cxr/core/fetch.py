"""Published files, checked by their hash: from the folder CXR_MIRROR, else a library's cache, else the
network."""

import difflib
import hashlib
import http.client
import os
import re
import shutil
import tempfile
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from cxr.core.errors import UserError
from cxr.core.files import atomic, sha256

TIMEOUT = 30  # seconds without any data


@dataclass(frozen=True)
class Setting:
    """A key of params.yaml and its value, which errors about it name."""

    key: str
    value: str

    def error(self, text: str) -> UserError:
        return UserError(f"params.yaml: {self.key} is {self.value}, but {text}")


def nearest(name: str, names: Iterable[str]) -> str:
    """Up to three of `names`, the most similar to `name` first, joined by commas."""
    choices = sorted(names)
    return ", ".join(difflib.get_close_matches(name, choices, n=3, cutoff=0.3) or choices[:3])


def file_name(url: str) -> str:
    return Path(urlsplit(url).path).name


def stated_hash(url: str) -> str:
    """The sha256, or the beginning of it, that publishers put into a file's name; "" where they do not."""
    match = re.search(r"-([0-9a-f]{8,})\.\w+$", url)
    return match[1] if match else ""


def in_mirror(name: str) -> Path | None:
    """The file or folder `name` of CXR_MIRROR; None if CXR_MIRROR is not set or has no such entry."""
    mirror = os.environ.get("CXR_MIRROR")
    return Path(mirror) / name if mirror and (Path(mirror) / name).exists() else None


def searched() -> str:
    """Text for an error about a failed download: whether CXR_MIRROR was searched too."""
    mirror = os.environ.get("CXR_MIRROR")
    return f"it is not in CXR_MIRROR={mirror} either" if mirror else "CXR_MIRROR is not set"


def one_line(error: BaseException) -> str:
    """The message of `error` without line breaks, at most 200 characters of it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."


@contextmanager
def fetch_published(url: str, md5: str) -> Iterator[Path]:
    """Yield the path of the file at `url`, checked; a downloaded copy is deleted after the block.

    Raises `UserError` if neither the mirror nor the network has the file, or if its md5 is wrong.
    """
    name = file_name(url)
    mirrored = in_mirror(name)
    if mirrored is not None and mirrored.is_file():
        _check_md5(mirrored, md5, f"{mirrored} (from CXR_MIRROR)", "replace it by the published file")
        yield mirrored
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        try:
            _download(url, path)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(
                f"could not reach {url} ({_reason(error)}) and {searched()}; go online, or download {name} "
                "elsewhere and set CXR_MIRROR to its folder"
            ) from None
        _check_md5(path, md5, f"{name} from {url}", "try again; nothing was kept")
        yield path


def from_url(setting: Setting, url: str, digest: str, cache: Path) -> Path:
    """The file at `url`, kept in `cache`. digest: the sha256 that it must have, or the beginning of it; ""
    for any.

    Raises `UserError` if neither the mirror, `cache` nor the network has it, or if its hash is wrong.
    """
    name = file_name(url)
    path = in_mirror(name) or cache / name
    if not path.is_file():
        try:
            with atomic(path) as temporary:
                _download(url, temporary)
                if not sha256(temporary).startswith(digest):
                    raise OSError(f"invalid hash: sha256 {sha256(temporary)}, not {digest}...")
        except (OSError, http.client.HTTPException) as error:
            raise setting.error(
                f"{url} is not available ({_reason(error)}) and {searched()}; go online, or download {name} "
                "elsewhere and set CXR_MIRROR to its folder",
            ) from None
    actual = sha256(path)
    if not actual.startswith(digest):
        raise setting.error(f"{path} has sha256 {actual}, not {digest}...; replace it by {url}")
    return path


def from_mirror(setting: Setting, name: str, digest: str) -> Path:
    """The file `name` of CXR_MIRROR. digest: the sha256 that it must have, the value of
    `<setting.key>_sha256`.

    Raises `UserError` if the mirror has no such file, or if the hash differs or is "none".
    """
    path = in_mirror(name)
    if path is None or not path.is_file():
        mirror = os.environ.get("CXR_MIRROR")
        raise setting.error(
            f"CXR_MIRROR={mirror} has no file {name}; put it there"
            if mirror
            else f"CXR_MIRROR is not set; set it to the folder that holds {name}"
        )
    actual, key = sha256(path), f"{setting.key}_sha256"
    if digest == "none":
        raise setting.error(
            f"{key} is none; set it to the hash that the file's publisher states (`sha256sum {path}` "
            f"gives {actual})"
        )
    if actual != digest.lower():
        raise setting.error(
            f"{path} has sha256 {actual}, where {key} is {digest}; replace the file or correct {key}"
        )
    return path


def from_hub(
    setting: Setting,
    repository: str,
    revision: str | None,
    weights: Sequence[str],
    others: Sequence[str] = (),
) -> Path:
    """The first of the files `weights` that `repository` on the Hugging Face hub has, in one folder with all
    files of the repository that match `others`.

    In the mirror that folder is `<org>/<model>/` or `<model>/`, as `hf download --local-dir` writes it.
    revision: a commit, tag or branch; None is the newest. Raises `UserError` if neither the mirror,
    the hub's cache nor the hub has the file, or if the mirror has it from another commit.
    """
    # Imported here, because it is slow and most stages do not need it.
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils import httpx

    for mirrored in (in_mirror(repository), in_mirror(Path(repository).name)):
        for name in weights:
            if mirrored and (mirrored / name).is_file():
                _check_commit(setting, repository, revision, mirrored, name)
                return mirrored / name

    def snapshot(name: str, local_files_only: bool) -> Path:
        # One weights file, since most repositories hold the same weights in several formats.
        patterns = [name, *others]
        folder = snapshot_download(
            repository, revision=revision, allow_patterns=patterns, local_files_only=local_files_only
        )
        return Path(folder) / name

    try:
        for name in weights:
            with suppress(LocalEntryNotFoundError):
                if (cached := snapshot(name, local_files_only=True)).is_file():
                    return cached
        # The request fails at once where a download would retry a hub that cannot be reached.
        siblings = HfApi().model_info(repository, revision=revision, timeout=TIMEOUT).siblings or []
        names = [name for name in weights if name in {file.rfilename for file in siblings}]
        if names:
            return snapshot(names[0], local_files_only=False)
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise setting.error(
            f"{weights[0]} of {repository} is not available from the Hugging Face hub ({one_line(error)}) "
            f"and {searched()}; check its name and go online, or run {_command(repository, revision)} "
            "elsewhere and set CXR_MIRROR to FOLDER",
        ) from None
    raise setting.error(
        f"{repository} on the Hugging Face hub has none of {', '.join(weights)}; choose another, or "
        f"put one of these files into the folder {repository} of CXR_MIRROR",
    )


def _check_md5(path: Path, md5: str, what: str, remedy: str) -> None:
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "md5").hexdigest()
    if actual != md5:
        raise UserError(f"{what} has md5 {actual}, not {md5}; {remedy}")


def _check_commit(setting: Setting, repository: str, revision: str | None, folder: Path, name: str) -> None:
    """Check the commit that `hf download` records for each file; a folder without this record is not
    checked."""
    record = folder / ".cache/huggingface/download" / f"{name}.metadata"
    if not (revision and re.fullmatch("[0-9a-f]{40}", revision) and record.is_file()):
        return
    commit = record.read_text(encoding="utf-8").split("\n")[0]
    key = f"{setting.key.partition('.')[0]}.revision"
    if commit != revision:
        raise setting.error(
            f"{folder} holds commit {commit} where {key} asks for {revision}; change {key}, or run "
            f"{_command(repository, revision)} with CXR_MIRROR as FOLDER",
        )


def _command(repository: str, revision: str | None) -> str:
    pinned = f" --revision {revision}" if revision else ""
    return f"`hf download {repository}{pinned} --local-dir FOLDER/{repository}`"


def _download(url: str, path: Path) -> None:
    """Raises OSError or HTTPException if the file cannot be downloaded completely."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response, path.open("wb") as file:
        total = int(response.headers.get("Content-Length") or 0)
        with tqdm.wrapattr(response, "read", total=total or None, desc=file_name(url), disable=None) as body:
            shutil.copyfileobj(body, file, 1 << 20)
    if total and path.stat().st_size != total:
        raise OSError(f"stopped after {path.stat().st_size:,} of {total:,} bytes")


def _reason(error: BaseException) -> object:
    """The cause of a failed download, without the text that urllib adds."""
    return getattr(error, "reason", None) or one_line(error)
