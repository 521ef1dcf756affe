"""The one line about an output of the pipeline that is not there: why, and which command gets it."""

import os
import re
from pathlib import Path

from cxr.core.errors import UserError

CACHE = Path(".dvc/cache/files/md5")  # DVC's default


def missing_output(path: Path, what: str, root: Path = Path()) -> UserError:
    """path: of the output, relative to `root`, the repository. what: a noun, such as "model".

    `dvc checkout` fails, and leaves nothing in its place, for a file that dvc.lock names and the cache lacks.
    This is so in a fresh clone, and after a switch to a branch whose results come from another machine.
    `dvc repro` then prefers what dvc.lock names to an equal run in this clone, unless there is no dvc.lock.
    """
    nothing = f"{root / path}: no {what} here"
    if above := _repository_above(root):
        return UserError(f"{nothing}; run from the repository's root, after `cd {above}`")
    cached = _cached(path, root)
    if cached is None:
        return UserError(f"{nothing}; build it with `dvc repro`, or fetch it with `dvc pull`")
    if cached:
        return UserError(f"{nothing}, but DVC's cache has it: `dvc checkout` restores it")
    return UserError(
        f"{nothing}, and DVC's cache lacks the one that dvc.lock names; build it with `dvc repro` (if it was "
        "built in this clone before, `rm dvc.lock` first saves the time), or, with a remote, fetch it with "
        "`dvc pull`"
    )


def _repository_above(root: Path) -> str:
    """The way up to the repository, such as "../..", if `root` is a folder inside of one; else ""."""
    start = root.resolve()
    if (start / "dvc.yaml").is_file():
        return ""
    found = next((parent for parent in start.parents if (parent / "dvc.yaml").is_file()), None)
    return os.path.relpath(found, start) if found else ""


def _cached(path: Path, root: Path) -> bool | None:
    """Whether DVC's cache holds the version of `path` that dvc.lock names; None if it names none."""
    try:
        lock = (root / "dvc.lock").read_text(encoding="utf-8")
    except OSError:
        return None
    pattern = rf"path: {re.escape(path.as_posix())}\n\s+hash: md5\n\s+md5: (\w\w)(\w+)\n"
    named = re.search(pattern, lock)
    return (root / CACHE / named[1] / named[2]).is_file() if named else None
