"""The stage train with `train.processes` 2, killed in the middle: one line, and the bytes of a training that
was not killed.

Long: every run starts three processes that import PyTorch.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cxr.core.dataset import load_dataset
from cxr.core.files import write_csv
from tests.builders import ROOT, files_below, write_packed, write_params

pytestmark = pytest.mark.long

OUTPUTS = ("classifier.json", "classifier.safetensors", "history.csv")
Start = Callable[..., subprocess.Popen[str]]
LIMIT = 600.0  # seconds for anything, on a busy machine
KILLED = (
    "error: a worker process was killed, as the system does when memory is short; run again, which goes on "
    "after the last epoch, or lower train.batch_size in params.yaml first\n"
)


def write_training(folder: Path, **changes: object) -> None:
    """Of a network with dropout, so that each process has random numbers of its own."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_packed({"train": (60, 90), "val": (20, 20), "test": (6, 6)}, ["normal", "sick"])
        rows = [(row, "x", 0) for row in load_dataset().rows("train")]
        write_csv("data/subclasses.csv", ("row", "subclass", "conflicting"), rows)
    small = {"model.backbone": "small_cnn", "model.dropout": 0.3, "compute.device": "cpu"}
    train = {
        "processes": 2,
        "members": 2,
        "epochs": 6,
        "batch_size": 32,
        "mixup": 0.3,
        "precision": "float32",
    }
    small |= {f"train.{key}": value for key, value in train.items()}
    write_params(folder, small | {key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture
def start() -> Iterator[Start]:
    """Run the stage, or another command, in a folder. What still runs after the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(folder: Path, *command: str) -> subprocess.Popen[str]:
        variables = os.environ | {"PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = command or (sys.executable, "-m", "stages.train")
        started.append(subprocess.Popen(command, cwd=folder, env=variables, text=True, **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()


def outputs(folder: Path) -> list[bytes]:
    return [(folder / "models" / name).read_bytes() for name in OUTPUTS]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "not true in time"
        time.sleep(0.05)


def epochs(folder: Path) -> int:
    """That have been saved, of both members."""
    histories = folder.glob(".resume/*/history_*.csv")
    return sum(len(path.read_text().splitlines()) - 1 for path in histories)


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_a_killed_training_of_two_processes_goes_on(start: Start, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    write_training(whole)
    write_training(cut)
    before = files_below(cut)

    process = start(whole)
    printed, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert "member 1: val accuracy" in printed
    assert files_below(whole) == sorted([*before, "logs/train.log", *(f"models/{name}" for name in OUTPUTS)])

    process = start(cut)  # the second process is killed: one line, and the first one ends as well
    wait_for(lambda: epochs(cut) >= 2)
    both = workers(process)
    assert len(both) == 2
    both[1].send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (1, KILLED)
    psutil.wait_procs(both, timeout=LIMIT)
    assert not any(worker.is_running() for worker in both)
    assert [name for name in files_below(cut) if name.startswith("models/")] == ["models/history.csv"]
    assert not list(cut.glob(".resume/meeting-*"))

    done = epochs(cut)
    process = start(cut)  # the stage itself is killed, while the second member trains
    wait_for(lambda: epochs(cut) >= 8)
    both = workers(process)
    process.kill()
    process.communicate()
    psutil.wait_procs(both, timeout=LIMIT)
    assert not any(worker.is_running() for worker in both)
    assert 2 <= done < 8

    process = start(cut)
    printed, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert "resuming an interrupted training: members 0, 1 go on after their last epoch" in printed
    assert outputs(cut) == outputs(whole)


def test_torchrun_starts_the_processes_where_it_is_asked_to(start: Start, tmp_path: Path) -> None:
    """The bytes are those of the stage alone."""
    alone, launched = tmp_path / "alone", tmp_path / "launched"
    for folder in (alone, launched):
        write_training(folder, train__members=1, train__epochs=2)
    assert start(alone).wait(LIMIT) == 0
    arguments = ["--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2", "-m", "stages.train"]
    process = start(launched, sys.executable, "-m", "torch.distributed.run", *arguments)
    printed, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    assert printed.count("member 0: val accuracy") == 1
    assert outputs(launched) == outputs(alone)
