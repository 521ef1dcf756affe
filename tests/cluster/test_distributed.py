"""Two processes on two nodes of a Ray cluster train one network together (`make test-ray`): the bytes of two
processes on one machine; a node that is killed ends the run with one line.

Slow, for each process starts on its node first.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from cxr.core.dataset import load_dataset
from cxr.core.engine import ADDRESS
from cxr.core.files import write_csv
from stages import train
from tests.builders import refused, write_packed, write_params
from tests.cluster.nodes import COMPUTE

pytestmark = pytest.mark.slow

OUTPUTS = ("classifier.json", "classifier.safetensors", "history.csv")


def outputs_of(folder: Path, processes: int) -> list[bytes]:
    """What the stage writes, in this folder."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_packed({"train": (30, 30), "val": (8, 8), "test": (6, 6)}, ["normal", "sick"])
        rows = [(row, "x", 0) for row in load_dataset().rows("train")]
        write_csv("data/subclasses.csv", ("row", "subclass", "conflicting"), rows)
        changes = {
            "processes": processes,
            "members": 2,
            "epochs": 3,
            "batch_size": 16,
            "precision": "float32",
        }
        changes = {f"train.{key}": value for key, value in changes.items()}
        changes |= {"model.backbone": "small_cnn", "compute.threads": COMPUTE.threads}
        write_params(folder, changes | {"compute.device": "cpu"})
        train.main()
    return [(folder / "models" / name).read_bytes() for name in OUTPUTS]


def test_two_nodes_train_together_as_two_processes_do(cluster: Any, tmp_path: Path) -> None:
    on_cluster = outputs_of(tmp_path / "cluster", 2)
    log = (tmp_path / "cluster/logs/cluster.log").read_text()
    assert log.count("task ") == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(ADDRESS)
        assert outputs_of(tmp_path / "machine", 2) == on_cluster
    assert ADDRESS in os.environ


def test_a_cluster_without_room_for_all_processes_is_refused(cluster: Any, tmp_path: Path) -> None:
    with refused("3 processes that train together need 3 CPUs, but the Ray cluster has 2"):
        outputs_of(tmp_path, 3)
