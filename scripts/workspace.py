"""A copy of the repository in which the pipeline can run without touching the working tree."""

import os
import shutil
import subprocess
from pathlib import Path

COPY = "A copy of the working tree"  # the message of its first commit


def copy_tracked(source: Path, target: Path) -> None:
    """Copy the files Git tracks in `source`, as they are in the working tree, to a new repository `target`.

    What stood at `target` is removed first. The copy is a Git and DVC repository of its own with one commit.
    """
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=source, check=True, capture_output=True, text=True
    )
    if target.exists():
        shutil.rmtree(target)
    for name in listing.stdout.rstrip("\0").split("\0"):
        if (source / name).is_file():  # a tracked file may be deleted in the working tree
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)
    call(target, "git", "init", "--quiet", "--initial-branch", "main")  # what `cxr compare` compares with
    commit(target, COPY)


def commit(repository: Path, message: str) -> None:
    """Commit everything in `repository`, under a name that needs no Git settings of the user."""
    call(repository, "git", "add", "--all")
    name = ("-c", "user.name=cxr", "-c", "user.email=cxr@localhost", "-c", "commit.gpgsign=false")
    call(repository, "git", *name, "commit", "--quiet", "--allow-empty", "-m", message)


def call(repository: Path, *command: str) -> None:
    """Run a command in `repository`. Raises CalledProcessError if it fails."""
    subprocess.run(command, cwd=repository, env=environment(), check=True)


def environment() -> dict[str, str]:
    """The environment of commands in a copy: CXR_MIRROR may be relative to where we are now."""
    variables = dict(os.environ)
    if mirror := variables.get("CXR_MIRROR"):
        variables["CXR_MIRROR"] = str(Path(mirror).resolve())
    return variables
