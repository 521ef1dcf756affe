"""Published files, checked by their hash: from the folder CXR_MIRROR, else a library's own cache, else the
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

TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class Setting:
    """The key of params.yaml that asks for a file, and its value: what a message names."""

    key: str
    value: str

    def error(self, text: str) -> UserError:
        return UserError(f"params.yaml: {self.key} is {self.value}, but {text}")


def nearest(name: str, names: Iterable[str]) -> str:
    """Up to three of `names`, those most like `name` first."""
    choices = sorted(names)
    return ", ".join(difflib.get_close_matches(name, choices, n=3, cutoff=0.3) or choices[:3])


def file_name(url: str) -> str:
    return Path(urlsplit(url).path).name


def stated_hash(url: str) -> str:
    """The sha256, or the beginning of it, that publishers put into a file's name; "" where they do not."""
    stated = re.search(r"-([0-9a-f]{8,})\.\w+$", url)
    return stated[1] if stated else ""


def in_mirror(name: str) -> Path | None:
    """The file or folder `name` of CXR_MIRROR, if both are there."""
    mirror = os.environ.get("CXR_MIRROR")
    return Path(mirror) / name if mirror and (Path(mirror) / name).exists() else None


def searched() -> str:
    """Where else a file that cannot be downloaded was looked for, in words."""
    mirror = os.environ.get("CXR_MIRROR")
    return f"it is not in CXR_MIRROR={mirror} either" if mirror else "CXR_MIRROR is not set"


def one_line(error: BaseException) -> str:
    """What `error` says, without line breaks and at most 200 characters of it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."


@contextmanager
def fetch_published(url: str, md5: str) -> Iterator[Path]:
    """Yield the path of the file behind `url`, checked; a downloaded copy is gone after the block.

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
    """The file behind `url`, kept in `cache`. digest: the sha256 it must have, or the beginning of it, or ""
    for none.

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
                f"{url} could not be had ({_reason(error)}) and {searched()}; go online, or download {name} "
                "elsewhere and set CXR_MIRROR to its folder",
            ) from None
    found = sha256(path)
    if not found.startswith(digest):
        raise setting.error(f"{path} has sha256 {found}, not {digest}...; replace it by {url}")
    return path


def from_mirror(setting: Setting, name: str, digest: str) -> Path:
    """The file `name` of CXR_MIRROR. digest: the sha256 it must have, which `<setting.key>_sha256` states.

    Raises `UserError` if the mirror has no such file, or if its hash is wrong or not stated ("none").
    """
    path = in_mirror(name)
    if path is None or not path.is_file():
        mirror = os.environ.get("CXR_MIRROR")
        raise setting.error(
            f"CXR_MIRROR={mirror} has no file {name}; put it there"
            if mirror
            else f"CXR_MIRROR is not set; set it to the folder that holds {name}"
        )
    found, key = sha256(path), f"{setting.key}_sha256"
    if digest == "none":
        raise setting.error(
            f"{key} is none; set it to the hash that the file's publisher states (`sha256sum {path}` "
            f"gives {found})"
        )
    if found != digest.lower():
        raise setting.error(
            f"{path} has sha256 {found}, where {key} is {digest}; replace the file or correct {key}"
        )
    return path


def from_hub(
    setting: Setting,
    repository: str,
    revision: str | None,
    weights: Sequence[str],
    others: Sequence[str] = (),
) -> Path:
    """The file of `repository` on the Hugging Face hub that is the first of `weights` it has, in one folder
    with all its files that match `others`.

    In the mirror that folder is `<org>/<model>/` or `<model>/`, as `hf download --local-dir` makes it.
    revision: a commit, tag or branch; None is the newest. Raises `UserError` if neither the mirror,
    the hub's cache nor the hub has the file, or if the mirror has it from another commit.
    """
    # Here, since most stages need no hub, and these take a while to import.
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils import httpx

    for mirrored in (in_mirror(repository), in_mirror(Path(repository).name)):
        for name in weights:
            if mirrored and (mirrored / name).is_file():
                _check_commit(setting, repository, revision, mirrored, name)
                return mirrored / name

    def snapshot(name: str, local_files_only: bool) -> Path:
        # One of the weights, since most repositories hold the same ones in several formats.
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
        # Asked first, because it answers at once where a download would retry a hub that is out of reach.
        siblings = HfApi().model_info(repository, revision=revision, timeout=TIMEOUT).siblings or []
        names = [name for name in weights if name in {file.rfilename for file in siblings}]
        if names:
            return snapshot(names[0], local_files_only=False)
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise setting.error(
            f"{weights[0]} of {repository} could not be had from the Hugging Face hub ({one_line(error)}) "
            f"and {searched()}; check its name and go online, or run {_command(repository, revision)} "
            "elsewhere and set CXR_MIRROR to FOLDER",
        ) from None
    raise setting.error(
        f"{repository} on the Hugging Face hub has none of {', '.join(weights)}; choose another, or "
        f"put one of these files into the folder {repository} of CXR_MIRROR",
    )


def _check_md5(path: Path, md5: str, what: str, remedy: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise UserError(f"{what} has md5 {found}, not {md5}; {remedy}")


def _check_commit(setting: Setting, repository: str, revision: str | None, folder: Path, name: str) -> None:
    """`hf download` notes the commit of each file; a folder that was copied by hand is taken at its word."""
    note = folder / ".cache/huggingface/download" / f"{name}.metadata"
    if not (revision and re.fullmatch("[0-9a-f]{40}", revision) and note.is_file()):
        return
    commit = note.read_text(encoding="utf-8").split("\n")[0]
    key = f"{setting.key.partition('.')[0]}.revision"
    if commit != revision:
        raise setting.error(
            f"{folder} holds commit {commit} where {key} asks for {revision}; change {key}, or run "
            f" {_command(repository, revision)} with CXR_MIRROR as FOLDER",
        )


def _command(repository: str, revision: str | None) -> str:
    pinned = f" --revision {revision}" if revision else ""
    return f"`hf download {repository}{pinned} --local-dir FOLDER/{repository}`"


def _download(url: str, path: Path) -> None:
    """Raises OSError or HTTPException if the file cannot be had whole."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, path.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        with tqdm.wrapattr(answer, "read", total=total or None, desc=file_name(url), disable=None) as body:
            shutil.copyfileobj(body, file, 1 << 20)
    if total and path.stat().st_size != total:
        raise OSError(f"stopped after {path.stat().st_size:,} of {total:,} bytes")


def _reason(error: BaseException) -> object:
    """Without what urllib writes around it."""
    return getattr(error, "reason", None) or one_line(error)
