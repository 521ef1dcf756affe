"""docs/walkthrough.md does what it says: its commands run, in order, in a small run of the pipeline."""

import re
import shutil

import pytest

from tests.builders import ROOT
from tests.repository import Repository

TEXT = (ROOT / "docs/walkthrough.md").read_text(encoding="utf-8")
SETUP, *REST = (block.splitlines() for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL))
COMMANDS = [command for block in REST for command in block]
# What each of these commands says in the walk-through and, whatever the numbers are, says here too.
SAID = {
    "dvc metrics diff main threshold": ["metrics/test.json", "accuracy_at_threshold.mean"],
    "cxr leaderboard": ["parameters", "auc.mean", "as at HEAD", "calibrate.threshold=0.5", "train.lr=0.001"],
    "cxr compare main": [
        *("**AUC on test: ", "**AUC on val: ", "95 % interval", "| `auc` |", "| `accuracy` |"),
        *("**Parameters (A, B):** `train.lr` 0.003, 0.001", "McNemar's exact test: p "),
    ],
    "cxr recipe small_cnn": ["-S model.backbone=small_cnn", "-S download.source=pneumoniamnist"],
    "cxr predict film.png": ["p(normal)", "p(pneumonia)", "decision", "film.png", "For research only"],
}


@pytest.fixture(scope="module")
def said(tiny_run: Repository, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The output of every command after the set-up, for which `tiny_run` stands in. None may fail."""
    repository = Repository(tmp_path_factory.mktemp("walkthrough") / "demo")
    shutil.copytree(tiny_run.path, repository.path, symlinks=True)
    repository.run("git", "config", "user.name", "newcomer")
    repository.run("git", "config", "user.email", "newcomer@localhost")
    return {command: repository.run("bash", "-c", command) for command in COMMANDS}


def test_set_up_is_what_the_fixture_stands_for() -> None:
    assert SETUP[:2] == ["git clone ADDRESS cxr", "cd cxr"]
    assert SETUP[2:] == ["make setup", "source .venv/bin/activate", "make demo", "cd build/demo"]


@pytest.mark.parametrize("command", SAID)
def test_quotes_hold_the_words_to_be_found(command: str) -> None:
    assert command in COMMANDS
    for words in SAID[command]:
        assert words in TEXT


@pytest.mark.parametrize("command", SAID)
def test_command_says_what_is_quoted(said: dict[str, str], command: str) -> None:
    for words in SAID[command]:
        assert words in said[command]


def test_a_threshold_moves_no_auc(said: dict[str, str]) -> None:
    assert "auc" not in said["dvc metrics diff main threshold"]


def test_it_ends_where_it_began(said: dict[str, str]) -> None:
    assert COMMANDS[-2:] == ["git switch main", "dvc checkout"]
    assert re.search(r"^M\s+models/classifier.safetensors$", said["dvc checkout"], re.MULTILINE)
