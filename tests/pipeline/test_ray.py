"""Training, embedding and experiments on two nodes of a Ray cluster (`make test-ray`): the same bytes as on
this machine alone, also when a node or the driver is killed.

Slow, for a cluster takes seconds to start, and each driver starts processes of its own on every node.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from cxr.commands.sweep.in_clone import CloneTask
from cxr.commands.sweep.outcomes import load_outcome
from cxr.commands.sweep.plan import plan
from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.engine import ADDRESS, Tick, side_by_side
from cxr.core.errors import UserError
from cxr.core.files import write_csv, write_npy
from cxr.embeddings.encoders import in_shards
from cxr.embeddings.encoders.embed import embed_dataset
from cxr.params import Compute
from tests.builders import ROOT, empty_mirror, noise_images, refused, settings, write_packed, write_params
from tests.sweeps import experiments_in, git, write_repository

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = pytest.mark.slow

HEAD, SECOND = "127.0.0.2", "127.0.0.3"  # Ray replaces 127.0.0.1 by the machine's outer address
LIMIT = 600.0  # seconds for anything, on a busy machine
COMPUTE: Compute = settings("compute", device="cpu", workers=1, threads=1)
OUTPUTS = ("classifier.json", "classifier.safetensors", "history.csv")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU, and RAY_ADDRESS for what runs in this module."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(True, head_node_args={"node_ip_address": HEAD, "include_dashboard": False})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ADDRESS, nodes.address)
        patch.setenv("PYTHONPATH", str(ROOT))
        nodes.add_node(node_ip_address=SECOND)
        yield nodes
        nodes.shutdown()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "not true in time"
        time.sleep(0.05)


def kill_second(cluster: Any) -> None:
    """SIGKILL to every process of the second node."""
    (node,) = cluster.worker_nodes
    cluster.remove_node(node, allow_graceful=False)


def where(number: int, tick: Tick) -> str:
    tick()
    return str(ray.get_runtime_context().get_node_id())


def fail_second(number: int, tick: Tick) -> int:
    if number == 1:
        raise UserError("the second one fails")
    time.sleep(LIMIT)
    return number


def end(number: int, tick: Tick) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class WaitForAll:
    """Ends when all four tasks run or have run: so that they run on all nodes."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def __call__(self, number: int, tick: Tick) -> str:
        (self.folder / str(number)).touch()
        wait_for(lambda: len(list(self.folder.iterdir())) >= self.count)
        return where(number, tick)


def test_tasks_run_on_both_nodes_and_their_steps_count(cluster: Any, tmp_path: Path) -> None:
    with tqdm(total=4, disable=False) as bar:
        nodes = side_by_side(WaitForAll(tmp_path, 2), 4, COMPUTE, bar)
    assert len(set(nodes)) == 2
    assert bar.n == 4


def test_an_error_of_a_task_is_raised_here_at_once(cluster: Any) -> None:
    start = time.monotonic()
    with tqdm(disable=True) as bar, refused("the second one fails"):
        side_by_side(fail_second, 2, COMPUTE, bar)
    assert time.monotonic() - start < LIMIT


def test_a_process_that_is_killed_again_and_again_is_one_line(cluster: Any) -> None:
    with tqdm(disable=True) as bar, refused("was killed 4 times", "--num-cpus"):
        side_by_side(end, 1, COMPUTE, bar)


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


def test_embeddings_in_shards_are_those_of_one_process(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = empty_mirror(tmp_path, monkeypatch) / "timm/test_resnet.r160_in1k"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), folder / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(in_shards, "SHARD", 128)
    write_npy(dataset.IMAGES, noise_images(300))
    images = np.load(dataset.IMAGES, mmap_mode="r")
    chosen = settings("clip_embed", encoder="timm:test_resnet", precision="float32")
    with monkeypatch.context() as patch:
        patch.delenv(ADDRESS)
        alone = embed_dataset(images, np.arange(0), chosen, COMPUTE)
    rmtree = in_shards.shutil.rmtree
    monkeypatch.setattr(in_shards.shutil, "rmtree", lambda folder: None)
    assert embed_dataset(images, np.arange(0), chosen, COMPUTE).tobytes() == alone.tobytes()
    shards = sorted(Path(".resume").glob("*/shard_*.npy"))
    assert [len(np.load(shard)) for shard in shards] == [128, 128, 44]

    shards[1].unlink()  # as if killed
    write_npy(shards[2], np.zeros((44, alone.shape[1]), np.float32))  # kept as it is, not computed again
    monkeypatch.setattr(in_shards.shutil, "rmtree", rmtree)
    resumed = embed_dataset(images, np.arange(0), chosen, COMPUTE)
    assert "going on with 1 of 3 shards" in capsys.readouterr().out
    assert resumed[:256].tobytes() == alone[:256].tobytes()
    assert not resumed[256:].any()
    assert not list(Path(".resume").iterdir())


def test_experiments_come_back_to_the_repository(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = write_repository(tmp_path)
    monkeypatch.chdir(tmp_path)
    planned = plan("rates", ["train.lr=0.25,0.5,2", "seed=0"])
    with tqdm(disable=True) as bar:
        side_by_side(CloneTask(planned, revision, 1), len(planned), COMPUTE, bar)
    outcomes = [load_outcome(revision, each.name) for each in planned]
    assert [outcome and outcome.val_nll for outcome in outcomes] == [0.25, 0.5, None]
    assert outcomes[2]
    assert any("error: the loss is no longer finite" in line for line in outcomes[2].lines)
    known = experiments_in(tmp_path)
    assert set(known) == {each.name for each in planned[:2]}
    metrics = git(tmp_path, "show", f"{known[planned[0].name]}:metrics.json")
    assert metrics == ['{"cpus": "1"}']
    # The clone of the failed one is kept, to look at; those of the others are not.
    assert [path.name for path in Path("build/sweep").glob("*/*") if path.is_dir()] == [planned[2].name]
