"""The commands of docs/walkthrough.md run in a small copy of the pipeline and print what is quoted.

Those that run them are long, two experiments; `make test-long` and `.ci/run` call them.
"""

import json
import re
import shutil

import pytest

from scripts.walkthrough import QUOTES, with_outputs
from tests.builders import ROOT, refused
from tests.repository import Repository

TEXT = (ROOT / "docs/walkthrough.md").read_text(encoding="utf-8")
SETUP, *REST = (block.splitlines() for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL))
COMMANDS = [command for block in REST for command in block]
# Parts of the output of each command that the page quotes, and that do not depend on the numbers.
QUOTED = {
    "dvc metrics diff main threshold": ["metrics/test.json", "sensitivity.ensemble", "specificity.ensemble"],
    "cxr leaderboard": ["parameters", "auc.mean", "as at HEAD", "calibrate.threshold=0.9", "train.lr=0.001"],
    "cxr compare main": ["test AUC ", "On val: AUC ", "95 % interval", "| `auc` |", "| `accuracy` |"],
    "cxr recipe small_cnn": ["-S model.backbone=small_cnn", "-S download.source=pneumoniamnist"],
    "cxr predict chest.png": ["p(normal)", "p(pneumonia)", "decision", "chest.png", "For research only"],
}


@pytest.fixture(scope="module")
def outputs(tiny_run: Repository, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The output of every command after the set-up, which `tiny_run` replaces. None may fail. As "rate" the
    parameters that the experiment of this name changed."""
    repository = Repository(tmp_path_factory.mktemp("walkthrough") / "demo")
    shutil.copytree(tiny_run.path, repository.path, symlinks=True)
    repository.run("git", "config", "user.name", "newcomer")
    repository.run("git", "config", "user.email", "newcomer@localhost")
    printed = {command: repository.run("bash", "-c", command) for command in COMMANDS}
    return printed | {"rate": repository.run("dvc", "params", "diff", "main", "rate", "--json")}


def test_set_up_is_what_the_fixture_replaces() -> None:
    assert SETUP[:2] == ["git clone ADDRESS cxr", "cd cxr"]
    assert SETUP[2:] == ["make setup", "source .venv/bin/activate", "make demo", "cd build/demo"]


@pytest.fixture(scope="module")
def page(outputs: dict[str, str]) -> str:
    """What `python -m scripts.walkthrough` would write of the tiny run."""
    demo = "metric  members\nauc  0.9\naccuracy  0.8\nfigures  plots/\n"
    return with_outputs(TEXT, outputs | {"make demo": demo})


@pytest.mark.long
@pytest.mark.parametrize("command", QUOTED)
def test_quotes_are_in_the_text_and_are_what_the_command_prints(page: str, command: str) -> None:
    assert command in COMMANDS
    for quote in QUOTED[command]:
        assert quote in block_after(command, TEXT)
        assert quote in block_after(command, page)


def block_after(command: str, text: str) -> str:
    return text.split(f"{command}\n")[1].split("```text\n")[1].split("```")[0]


@pytest.mark.long
def test_the_script_replaces_the_outputs_and_nothing_else(page: str) -> None:
    assert block_after("make demo", page) == "metric  members\nauc  0.9\naccuracy  0.8\n"
    blocks = re.compile(r"```text\n.*?```", re.DOTALL)
    assert blocks.sub("", page) == blocks.sub("", TEXT)
    assert len(blocks.findall(page)) == len(QUOTES)


@pytest.mark.long
def test_a_lesson_that_changes_nothing_is_an_error(outputs: dict[str, str]) -> None:
    same = outputs | {"make demo": "auc  0.9", "dvc metrics diff main threshold": "\n"}
    with refused("`dvc metrics diff main threshold` prints nothing of what docs/walkthrough.md quotes"):
        with_outputs(TEXT, same)


@pytest.mark.long
def test_a_threshold_changes_sensitivity_and_no_auc(outputs: dict[str, str]) -> None:
    rows = re.findall(r"^(metrics/\S+) +(\S+)", outputs["dvc metrics diff main threshold"], re.MULTILINE)
    assert ("metrics/test.json", "sensitivity.ensemble") in rows
    assert not [row for row in rows if row[0] == "metrics/test.json" and row[1].startswith("auc")]


@pytest.mark.long
def test_a_learning_rate_that_yaml_1_1_reads_as_text_is_a_number(outputs: dict[str, str]) -> None:
    shown = json.loads(outputs["rate"])["params.yaml"]["train.lr"]
    assert (shown["old"], shown["new"]) == (0.003, 0.001)


def test_prose_quotes_no_measurement() -> None:
    """They would be those of another run than the outputs."""
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    assert sorted(set(re.findall(r"\d\.\d+", prose))) == ["0.5", "0.8", "0.9", "3.11"]


@pytest.mark.long
def test_the_last_commands_restore_main(outputs: dict[str, str]) -> None:
    assert COMMANDS[-2:] == ["git switch main", "dvc checkout"]
    assert re.search(r"^M\s+models/classifier.safetensors$", outputs["dvc checkout"], re.MULTILINE)
