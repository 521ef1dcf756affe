"""A copy of this repository in which tests run commands."""

import importlib
import json
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML


class Repository:
    """A copy of this repository, and commands in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *command: str, code: int = 0) -> str:
        """The command's output, both streams; fails the test if it ends with another code."""
        done = self._done(command, code)
        return done.stdout + done.stderr

    def json(self, *command: str) -> dict:
        """What the command prints as JSON; DVC's remarks on the other stream do not count."""
        return json.loads(self._done((*command, "--json"), 0).stdout)

    def _done(self, command: tuple[str, ...], code: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True)
        assert done.returncode == code, (
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done

    def run_stages(self, *stages: str) -> None:
        """Run `stages` in this process, since to start one takes longer than a small stage itself."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.path)
            for stage in stages:
                importlib.import_module(f"stages.{stage.replace('-', '_')}").main()

    def lock(self) -> dict[str, dict]:
        return YAML(typ="safe").load(self.path / "dvc.lock")["stages"]


def copy_of(repository: Repository, path: Path) -> Repository:
    """A Git clone: what a colleague gets, without any DVC cache."""
    subprocess.run(["git", "clone", "--quiet", str(repository.path), str(path)], check=True)
    return Repository(path)
