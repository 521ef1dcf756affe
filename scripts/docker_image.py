"""`make image`: the steps of the Dockerfile without Docker, in build/image, and how large they are.

    python -m scripts.docker_image

Every COPY and RUN happens in a folder of its own, with a clean virtual environment in the place of the base
image. Then CMD is started, HEALTHCHECK has to succeed, and the sizes of what an image would hold are printed.
What needs an image or root (users, ports) is named and left out.
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
LEFT_OUT = ("useradd",)
PATIENCE = 30  # seconds until HEALTHCHECK has to succeed


@dataclass
class Stage:
    """A build stage. root: stands for / of its file system. environment: what ENV and ARG have set."""

    root: Path
    folder: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    health: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def place(self, path: str) -> Path:
        """Where an absolute path of the image, or one below its WORKDIR, lies here."""
        return self.root / path.lstrip("/") if path.startswith("/") else self.place(self.folder) / path

    def here(self, text: str) -> str:
        """`text` with the image's WORKDIR as the folder that stands for it."""
        return text.replace(self.folder, str(self.place(self.folder))) if self.folder != "/" else text


def main() -> None:
    """Raises `UserError` if a step fails or the service does not become healthy."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    stages: dict[str, Stage] = {}
    root = FOLDER.resolve() / "root"
    for number, (word, rest) in enumerate(instructions(DOCKERFILE.read_text(encoding="utf-8"))):
        print(f"{word} {rest}", flush=True)
        if word == "FROM":
            if stages:  # all stages build in one place, since an environment does not work in another
                finished = list(stages)[-1]
                root.rename(FOLDER.resolve() / finished)
                stages[finished].root = FOLDER.resolve() / finished
            name = rest.split()[-1] if " AS " in rest else f"stage-{number}"
            stages[name] = stage = Stage(root)
            stage.environment["PATH"] = f"{python(root)}:{os.environ['PATH']}"
        else:
            step(word, rest, stage, stages)
    healthy(stage)
    environment, own = size(stage.place(".venv")), size(stage.place("cxr")) + size(stage.place("service"))
    print(f"\npackages {environment:.0f} MB, own code {own:.1f} MB, base image about {BASE_MB} MB: ", end="")
    print(f"about {environment + own + BASE_MB:.0f} MB")


def instructions(text: str) -> list[tuple[str, str]]:
    """(word, rest) of each instruction of a Dockerfile."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def python(root: Path) -> str:
    """The folder of a clean Python's programs, in the place of the base image's."""
    venv.create(root / "usr", with_pip=True)
    return str(root / "usr/bin")


def step(word: str, rest: str, stage: Stage, stages: dict[str, Stage]) -> None:
    match word:
        case "WORKDIR":
            stage.folder = rest
            stage.place(rest).mkdir(parents=True, exist_ok=True)
        case "ENV" | "ARG":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                value = re.sub(r"\$(\w+)", lambda found: stage.environment.get(found[1], ""), value)
                stage.environment[name] = stage.here(value) if name == "PATH" else value
        case "COPY":
            copy(shlex.split(rest), stage, stages)
        case "RUN" if not rest.startswith(LEFT_OUT):
            code = subprocess.run(rest, shell=True, cwd=stage.place("."), env=clean(stage)).returncode
            if code:
                raise UserError(f"{DOCKERFILE}: exit code {code} of RUN {rest}")
        case "HEALTHCHECK":
            stage.health = loads(rest[rest.index("[") :])
        case "CMD":
            stage.command = loads(rest)
        case _:
            print("  (left out here)")


def clean(stage: Stage) -> dict[str, str]:
    """What the image's processes would see, and where this machine takes its packages from."""
    kept = ("HOME", "PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ} | stage.environment


def copy(words: list[str], stage: Stage, stages: dict[str, Stage]) -> None:
    source = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), None)
    *files, target = [word for word in words if not word.startswith("--")]
    if source:
        found = stages[source].place(files[0])
        if found.is_dir():
            shutil.copytree(found, stage.place(target), symlinks=True)
        else:
            shutil.copy2(found, stage.place(target))
        return
    # Only what Git holds, as .dockerignore lets no caches through.
    tracked = subprocess.run(["git", "ls-files", "-z", *files], capture_output=True, text=True, check=True)
    for name in tracked.stdout.split("\0")[:-1]:
        place = stage.place(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, place)


def healthy(stage: Stage) -> None:
    """Raises `UserError` if CMD ends or HEALTHCHECK does not succeed in time."""
    environment = clean(stage)
    found = shutil.which(stage.command[0], path=environment["PATH"])
    if not found:
        raise UserError(f"{DOCKERFILE}: CMD {stage.command[0]}: no such program in the image")
    started = time.monotonic()
    with subprocess.Popen([found, *stage.command[1:]], cwd=stage.place("."), env=environment) as service:
        try:
            while time.monotonic() < started + PATIENCE and service.poll() is None:
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
    raise UserError(f"{DOCKERFILE}: HEALTHCHECK did not succeed within {PATIENCE} s of CMD")


def size(path: Path) -> float:
    """MB (10^6 bytes) of a file or a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(each.lstat().st_size for each in files if not each.is_dir() or each.is_symlink()) / 1e6


if __name__ == "__main__":
    run(main)
