"""What editors and hooks are told agrees with what `make setup` installs and `make lint` checks."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.builders import ROOT

JSON = (".devcontainer/devcontainer.json", ".vscode/extensions.json", ".vscode/settings.json")


def load(name: str) -> dict:
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", JSON)
def test_it_is_json_without_comments(name: str) -> None:
    assert load(name)


def test_the_container_brings_the_recommended_extensions() -> None:
    inside = load(JSON[0])["customizations"]["vscode"]["extensions"]
    assert inside == load(JSON[1])["recommendations"] == sorted(inside)


def test_the_container_is_set_up_by_a_target_of_the_makefile() -> None:
    target = load(JSON[0])["postCreateCommand"].removeprefix("make ")
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.search(r"python:3\.(\d+)", load(JSON[0])["image"])[1] == "11"  # as in the workflows


def test_hooks_run_the_ruff_of_the_lock_file() -> None:
    (hooks,) = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")["repos"]
    (version,) = re.findall(r'name = "ruff"\nversion = "(.+)"', (ROOT / "uv.lock").read_text())
    assert hooks["rev"] == f"v{version}"
    assert [hook["id"] for hook in hooks["hooks"]] == ["ruff-check", "ruff-format"]


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/workflows/*.yml")), ids=lambda path: path.stem)
def test_a_workflow_uses_actions_by_commit_and_no_secret(path: Path) -> None:
    text = path.read_text()
    assert "secrets." not in text
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in used)


def test_only_the_job_that_runs_no_code_of_the_repository_may_write() -> None:
    workflow = YAML(typ="safe").load(ROOT / ".github/workflows/release.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert [name for name, job in workflow["jobs"].items() if "permissions" in job] == ["attach"]
    assert not any("checkout" in step.get("uses", "") for step in workflow["jobs"]["attach"]["steps"])
