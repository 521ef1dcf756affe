"""`make image`: runs the steps of the Dockerfile without Docker, in build/image, and prints their size.

    python -m scripts.docker_image

COPY and RUN work in a folder for each build stage, with a clean virtual environment in place of the base
image. Then CMD is started, HEALTHCHECK has to succeed, and the size of the image's contents is printed. Steps
that need an image or root (users, ports) are printed and skipped.
"""

import os
import re
import shlex
import shutil
import subprocess
import time
import venv
from dataclasses import dataclass, field
from json import loads
from pathlib import Path

from cxr.core.errors import UserError, run

DOCKERFILE = Path("Dockerfile")
FOLDER = Path("build/image")
BASE_MB = 125  # python:3.11-slim, unpacked, as `docker images` shows it
SKIPPED = ("useradd",)
TIMEOUT = 30  # seconds until HEALTHCHECK has to succeed


@dataclass
class Stage:
    """A build stage. root: the folder for / of its file system. folder: its WORKDIR. environment: of ENV and
    ARG. health, command: of HEALTHCHECK and CMD."""

    root: Path
    folder: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    health: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def local(self, path: str) -> Path:
        """The local path of an absolute path of the image, or of one relative to its WORKDIR."""
        return self.root / path.lstrip("/") if path.startswith("/") else self.local(self.folder) / path

    def here(self, text: str) -> str:
        """`text` with the image's WORKDIR replaced by its local folder."""
        return text.replace(self.folder, str(self.local(self.folder))) if self.folder != "/" else text


def main() -> None:
    """Raises `UserError` if a step fails or the service does not become healthy."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    stages: dict[str, Stage] = {}
    root = FOLDER.resolve() / "root"
    for number, (word, rest) in enumerate(instructions(DOCKERFILE.read_text(encoding="utf-8"))):
        print(f"{word} {rest}", flush=True)
        if word == "FROM":
            if stages:  # all stages are built in one folder, since a virtual environment cannot be moved
                finished = list(stages)[-1]
                root.rename(FOLDER.resolve() / finished)
                stages[finished].root = FOLDER.resolve() / finished
            name = rest.split()[-1] if " AS " in rest else f"stage-{number}"
            stages[name] = stage = Stage(root)
            stage.environment["PATH"] = f"{python(root)}:{os.environ['PATH']}"
        else:
            step(word, rest, stage, stages)
    healthy(stage)
    environment, own = size(stage.local(".venv")), size(stage.local("cxr")) + size(stage.local("service"))
    print(f"\npackages {environment:.0f} MB, own code {own:.1f} MB, base image about {BASE_MB} MB: ", end="")
    print(f"about {environment + own + BASE_MB:.0f} MB")


def instructions(text: str) -> list[tuple[str, str]]:
    """(word, rest) of each instruction of a Dockerfile."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def python(root: Path) -> str:
    """The folder with the programs of a clean virtual environment, in place of the base image's."""
    venv.create(root / "usr", with_pip=True)
    return str(root / "usr/bin")


def step(word: str, rest: str, stage: Stage, stages: dict[str, Stage]) -> None:
    match word:
        case "WORKDIR":
            stage.folder = rest
            stage.local(rest).mkdir(parents=True, exist_ok=True)
        case "ENV" | "ARG":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                value = re.sub(r"\$(\w+)", lambda match: stage.environment.get(match[1], ""), value)
                stage.environment[name] = stage.here(value) if name == "PATH" else value
        case "COPY":
            copy(shlex.split(rest), stage, stages)
        case "RUN" if not rest.startswith(SKIPPED):
            code = subprocess.run(rest, shell=True, cwd=stage.local("."), env=clean(stage)).returncode
            if code:
                raise UserError(f"{DOCKERFILE}: exit code {code} of RUN {rest}")
        case "HEALTHCHECK":
            stage.health = loads(rest[rest.index("[") :])
        case "CMD":
            stage.command = loads(rest)
        case _:
            print("  (skipped here)")


def clean(stage: Stage) -> dict[str, str]:
    """The environment of the image's processes, with this machine's package index."""
    kept = ("HOME", "PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ} | stage.environment


def copy(words: list[str], stage: Stage, stages: dict[str, Stage]) -> None:
    source = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), None)
    *files, target = [word for word in words if not word.startswith("--")]
    if source:
        path = stages[source].local(files[0])
        if path.is_dir():
            shutil.copytree(path, stage.local(target), symlinks=True)
        else:
            shutil.copy2(path, stage.local(target))
        return
    # Only files tracked by Git, since .dockerignore excludes caches.
    tracked = subprocess.run(["git", "ls-files", "-z", *files], capture_output=True, text=True, check=True)
    for name in tracked.stdout.split("\0")[:-1]:
        path = stage.local(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, path)


def healthy(stage: Stage) -> None:
    """Raises `UserError` if CMD ends or HEALTHCHECK does not succeed in time."""
    environment = clean(stage)
    program = shutil.which(stage.command[0], path=environment["PATH"])
    if not program:
        raise UserError(f"{DOCKERFILE}: CMD {stage.command[0]}: not found in the image")
    started = time.monotonic()
    with subprocess.Popen([program, *stage.command[1:]], cwd=stage.local("."), env=environment) as service:
        try:
            while time.monotonic() < started + TIMEOUT and service.poll() is None:
                probe = shutil.which(stage.health[0], path=environment["PATH"])
                checked = subprocess.run(
                    [str(probe), *stage.health[1:]], env=environment, capture_output=True
                )
                if not checked.returncode and service.poll() is None:
                    print(f"healthy after {time.monotonic() - started:.1f} s")
                    return
                time.sleep(0.2)
        finally:
            service.terminate()
    raise UserError(f"{DOCKERFILE}: HEALTHCHECK did not succeed within {TIMEOUT} s of CMD")


def size(path: Path) -> float:
    """MB (10^6 bytes) of a file or a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.lstat().st_size for file in files if not file.is_dir() or file.is_symlink()) / 1e6


if __name__ == "__main__":
    run(main)
