"""Published weights: from the folder CXR_MIRROR, else the library's own cache, else the network."""

import difflib
import http.client
import os
import pickle
import re
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import httpx
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cxr import files
from cxr.errors import UserError

TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class Setting:
    """The key of params.yaml that asks for weights, and its value: what a refusal names."""

    key: str
    value: str

    def refusal(self, text: str) -> UserError:
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


def from_url(setting: Setting, url: str, sha256: str, cache: Path) -> Path:
    """The file behind `url`. sha256: the hash it must have, or the beginning of it, or "" for none.

    Raises `UserError` if neither the mirror, `cache` nor the network has it, or if its hash is wrong.
    """
    name = file_name(url)
    path = in_mirror(name) or cache / name
    if not path.is_file():
        _download(setting, url, sha256, path)
    found = files.sha256(path)
    if not found.startswith(sha256):
        raise setting.refusal(f"{path} has sha256 {found}, not {sha256}...; replace it by {url}")
    return path


def from_mirror(setting: Setting, name: str, sha256: str) -> Path:
    """The file `name` of CXR_MIRROR. sha256: the hash it must have, which `<setting.key>_sha256` states.

    Raises `UserError` if the mirror has no such file, or if its hash is wrong or not stated ("none").
    """
    path = in_mirror(name)
    if path is None or not path.is_file():
        mirror = os.environ.get("CXR_MIRROR")
        raise setting.refusal(
            f"CXR_MIRROR={mirror} has no file {name}; put it there"
            if mirror
            else f"CXR_MIRROR is not set; set it to the folder that holds {name}"
        )
    found, key = files.sha256(path), f"{setting.key}_sha256"
    if sha256 == "none":
        raise setting.refusal(
            f"{key} is none; set it to the hash that the file's publisher states (`sha256sum {path}` "
            f"gives {found})"
        )
    if found != sha256.lower():
        raise setting.refusal(
            f"{path} has sha256 {found}, where {key} is {sha256}; replace the file or correct {key}"
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
        files = HfApi().model_info(repository, revision=revision, timeout=TIMEOUT).siblings or []
        names = [name for name in weights if name in {file.rfilename for file in files}]
        if names:
            return snapshot(names[0], local_files_only=False)
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise setting.refusal(
            f"{weights[0]} of {repository} could not be had from the Hugging Face hub ({_one_line(error)}) "
            f"and {_searched()}; check its name and go online, or run {_command(repository, revision)} "
            "elsewhere and set CXR_MIRROR to FOLDER",
        ) from None
    raise setting.refusal(
        f"{repository} on the Hugging Face hub has none of {', '.join(weights)}; choose another, or "
        f"put one of these files into the folder {repository} of CXR_MIRROR",
    )


@contextmanager
def reading(setting: Setting, path: Path) -> Iterator[None]:
    """Whatever a library raises when `path` cannot be read, or does not fit, becomes a `UserError`."""
    try:
        yield
    except (
        *(OSError, ValueError, RuntimeError, EOFError, KeyError, TypeError),
        *(pickle.UnpicklingError, SafetensorError),
    ) as error:
        raise setting.refusal(
            f"{path} cannot be used as its weights ({_one_line(error)}); replace it by the published file",
        ) from None


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, else of one that `torch.save` wrote; never runs pickled code.

    Raises what `reading` turns into a `UserError`.
    """
    if path.suffix == ".safetensors":
        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not (isinstance(state, dict) and state and all(isinstance(value, Tensor) for value in state.values())):
        raise ValueError("it holds no plain dictionary of tensors")
    return state


def _searched() -> str:
    mirror = os.environ.get("CXR_MIRROR")
    return f"it is not in CXR_MIRROR={mirror} either" if mirror else "CXR_MIRROR is not set"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."


def _command(repository: str, revision: str | None) -> str:
    pinned = f" --revision {revision}" if revision else ""
    return f"`hf download {repository}{pinned} --local-dir FOLDER/{repository}`"


def _check_commit(setting: Setting, repository: str, revision: str | None, folder: Path, name: str) -> None:
    """`hf download` notes the commit of each file; a folder that was copied by hand is taken at its word."""
    note = folder / ".cache/huggingface/download" / f"{name}.metadata"
    if not (revision and re.fullmatch("[0-9a-f]{40}", revision) and note.is_file()):
        return
    commit = note.read_text(encoding="utf-8").split("\n")[0]
    key = f"{setting.key.partition('.')[0]}.revision"
    if commit != revision:
        raise setting.refusal(
            f"{folder} holds commit {commit} where {key} asks for {revision}; change {key}, or run "
            f" {_command(repository, revision)} with CXR_MIRROR as FOLDER",
        )


def _download(setting: Setting, url: str, sha256: str, path: Path) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torch.hub sets none, and would wait forever
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), sha256 or None, progress=sys.stderr.isatty())
    except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: a wrong hash
        raise setting.refusal(
            f"{url} could not be had ({_one_line(error)}) and {_searched()}; go online, or download "
            f"{path.name} elsewhere and set CXR_MIRROR to its folder",
        ) from None
    finally:
        socket.setdefaulttimeout(before)
