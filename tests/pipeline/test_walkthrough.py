"""The commands of docs/walkthrough.md run in a small copy of the pipeline and print what is quoted."""

import re
import shutil

import pytest

from tests.builders import ROOT
from tests.repository import Repository

TEXT = (ROOT / "docs/walkthrough.md").read_text(encoding="utf-8")
SETUP, *REST = (block.splitlines() for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL))
COMMANDS = [command for block in REST for command in block]
# Parts of the output of each command that the walk-through quotes, and that do not depend on the numbers.
QUOTED = {
    "dvc metrics diff main threshold": ["metrics/test.json", "accuracy_at_threshold."],
    "cxr leaderboard": ["parameters", "auc.mean", "as at HEAD", "calibrate.threshold=0.5", "train.lr=0.001"],
    "cxr compare main": [
        *("**AUC on test: ", "**AUC on val: ", "95 % interval", "| `auc` |", "| `accuracy` |"),
        *("**Parameters (A, B):** `train.lr` 0.003, 0.001", "McNemar's exact test: p "),
    ],
    "cxr recipe small_cnn": ["-S model.backbone=small_cnn", "-S download.source=pneumoniamnist"],
    "cxr predict chest.png": ["p(normal)", "p(pneumonia)", "decision", "chest.png", "For research only"],
}


@pytest.fixture(scope="module")
def outputs(tiny_run: Repository, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The output of every command after the set-up, which `tiny_run` replaces. None may fail."""
    repository = Repository(tmp_path_factory.mktemp("walkthrough") / "demo")
    shutil.copytree(tiny_run.path, repository.path, symlinks=True)
    repository.run("git", "config", "user.name", "newcomer")
    repository.run("git", "config", "user.email", "newcomer@localhost")
    return {command: repository.run("bash", "-c", command) for command in COMMANDS}


def test_set_up_is_what_the_fixture_replaces() -> None:
    assert SETUP[:2] == ["git clone ADDRESS cxr", "cd cxr"]
    assert SETUP[2:] == ["make setup", "source .venv/bin/activate", "make demo", "cd build/demo"]


@pytest.mark.parametrize("command", QUOTED)
def test_quotes_are_in_the_text(command: str) -> None:
    assert command in COMMANDS
    for quote in QUOTED[command]:
        assert quote in TEXT


@pytest.mark.parametrize("command", QUOTED)
def test_command_prints_what_is_quoted(outputs: dict[str, str], command: str) -> None:
    for quote in QUOTED[command]:
        assert quote in outputs[command]


def test_a_threshold_changes_no_auc(outputs: dict[str, str]) -> None:
    assert "auc" not in outputs["dvc metrics diff main threshold"]


def test_the_last_commands_restore_main(outputs: dict[str, str]) -> None:
    assert COMMANDS[-2:] == ["git switch main", "dvc checkout"]
    assert re.search(r"^M\s+models/classifier.safetensors$", outputs["dvc checkout"], re.MULTILINE)
