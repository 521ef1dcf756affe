"""Members of the ensemble on two nodes of a Ray cluster (`make test-ray`): the same bytes as on this machine
alone, also when a node or the driver is killed.

Slow, for each driver starts processes of its own on every node.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cxr.core.dataset import load_dataset
from cxr.core.engine import ADDRESS
from cxr.core.files import write_csv
from tests.builders import ROOT, write_packed, write_params
from tests.cluster.nodes import LIMIT, SECOND, kill_second, wait_for

pytestmark = pytest.mark.slow

OUTPUTS = ("classifier.json", "classifier.safetensors", "history.csv")


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two members have been trained, without a cluster."""
    folder = tmp_path_factory.mktemp("training")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_packed({"train": (60, 90), "val": (20, 20), "test": (6, 6)}, ["normal", "sick"])
        rows = [(row, "x", 0) for row in load_dataset().rows("train")]
        write_csv("data/subclasses.csv", ("row", "subclass", "conflicting"), rows)
    changes = {"members": 2, "epochs": 150, "batch_size": 32, "precision": "float32"}
    changes = {f"train.{key}": value for key, value in changes.items()}
    write_params(folder, changes | {"compute.workers": 1, "compute.device": "cpu"})
    trained(start(folder, cluster=False), folder)
    return folder


def start(folder: Path, cluster: bool = True) -> subprocess.Popen[str]:
    variables = {key: value for key, value in os.environ.items() if cluster or key != ADDRESS}
    variables["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "stages.train"]
    return subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True)


def trained(process: subprocess.Popen[str], folder: Path) -> tuple[list[bytes], str]:
    """The bytes of the outputs, and what was printed."""
    printed, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    return [(folder / "models" / name).read_bytes() for name in OUTPUTS], printed


def copy_inputs(training: Path, folder: Path) -> None:
    subprocess.run(["cp", "-r", training / "data", training / "params.yaml", folder], check=True)


def epochs(folder: Path) -> int:
    """The least that a member has saved."""
    files = list(folder.glob(".resume/*/history_*.csv"))
    return (
        min((len(path.read_text().splitlines()) - 1 for path in files), default=0) if len(files) == 2 else 0
    )


def starts(folder: Path) -> list[str]:
    """The lines of the log, one for each time that a member started on a node."""
    return (folder / "logs/cluster.log").read_text().splitlines()


def test_members_of_two_nodes_have_the_bytes_of_one_machine(
    cluster: Any, training: Path, tmp_path: Path
) -> None:
    copy_inputs(training, tmp_path)
    outputs, printed = trained(start(tmp_path), tmp_path)
    assert outputs == [(training / "models" / name).read_bytes() for name in OUTPUTS]
    assert "last digits may differ" not in printed
    assert len(starts(tmp_path)) == 2


def test_a_killed_driver_goes_on_and_a_killed_node_is_made_up_for(
    cluster: Any, training: Path, tmp_path: Path
) -> None:
    copy_inputs(training, tmp_path)
    process = start(tmp_path)
    wait_for(lambda: epochs(tmp_path) >= 2)
    process.kill()
    process.communicate()
    assert not (tmp_path / "models/classifier.json").exists()

    process = start(tmp_path)
    wait_for(lambda: len(starts(tmp_path)) >= 4)
    kill_second(cluster)
    try:
        outputs, printed = trained(process, tmp_path)
    finally:
        cluster.add_node(node_ip_address=SECOND)
    assert "resuming an interrupted training: members 0, 1" in printed
    assert len(starts(tmp_path)) == 5  # the member of the second node started again on the first
    assert outputs == [(training / "models" / name).read_bytes() for name in OUTPUTS]
