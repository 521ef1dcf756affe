"""A training that is killed at any moment continues, and ends with the same bytes as one that is not."""

import contextlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from cxr.core import resuming
from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv, write_csv
from cxr.training.checkpoints import (
    checkpoint_path,
    clear_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from stages import train
from tests.builders import files_below, write_packed, write_params

EPOCHS, FINETUNE = 7, 5
CHANGES = {
    "compute.device": "cpu",
    "compute.threads": 1,
    "compute.workers": 1,
    "train.members": 2,
    "train.epochs": EPOCHS,
    "train.batch_size": 32,
    "train.select": "val_auc",
    "finetune.epochs": FINETUNE,
    "finetune.trainable": "head",
    "finetune.lr": 0.01,
    "finetune.schedule": "cosine",
}
OUTPUTS = ("classifier.json", "classifier.safetensors", "history.csv")


# Its processes have imported the stage when they start, which takes longer than this training.
READY = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module", autouse=True)
def ready():
    READY.set_forkserver_preload(["stages.train"])


def train_in(folder: Path) -> None:
    os.chdir(folder)
    with Path("printed.txt").open("w") as printed, contextlib.redirect_stdout(printed):
        train.main()


def start(folder: Path) -> multiprocessing.Process:
    process = READY.Process(target=train_in, args=(folder,))
    process.start()
    return process


def ended(process: multiprocessing.Process) -> int:
    process.join()
    return process.exitcode


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes) -> None:
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_packed({"train": (150, 250), "val": (20, 30), "test": (4, 4)}, ["normal", "sick"])
    write_csv(
        "data/subclasses.csv",
        ("row", "subclass", "conflicting"),
        [(row, "x", 0) for row in load_dataset().rows("train")],
    )
    write_params(folder, CHANGES | changes)


def logged_epochs(folder: Path) -> int:
    log = folder / "logs/train.log"
    return log.read_text().count(" epoch ") if log.exists() else 0


def results(folder: Path) -> list[bytes]:
    return [(folder / "models" / name).read_bytes() for name in OUTPUTS]


def check_history_so_far(killed: Path, whole: Path, least: int) -> None:
    """Nothing but whole epochs, those of the finished training with none marked as released."""
    so_far = read_csv(killed / "models/history.csv")
    finished = {(row["member"], row["epoch"]): row for row in read_csv(whole / "models/history.csv")}
    assert so_far == [finished[row["member"], row["epoch"]] | {"released": "0"} for row in so_far]
    assert len(so_far) >= max(1, least)


def test_state_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = checkpoint_path("key", 3)
    assert load_checkpoint(path) is None
    save_checkpoint(path, {"epoch": 1, "weights": torch.arange(3)})

    class Unwritable:
        def __reduce__(self):
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        save_checkpoint(path, {"epoch": 2, "weights": Unwritable()})
    state = load_checkpoint(path)
    assert state["epoch"] == 1
    assert torch.equal(state["weights"], torch.arange(3))
    assert files_below(tmp_path) == [".resume/key/member_3.pt"]
    clear_checkpoints()
    assert files_below(tmp_path) == []


@pytest.mark.long
def test_killed_training_ends_with_the_same_bytes(tmp_path, monkeypatch):
    """Killed in the first member, between its phases, and in the second phase of the second one."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    prepare(whole, monkeypatch)
    assert ended(start(whole)) == 0

    prepare(killed, monkeypatch)
    both = EPOCHS + FINETUNE
    for kills, moment in enumerate((3, EPOCHS, both + EPOCHS + 2)):
        process = start(killed)
        while logged_epochs(killed) < moment + kills and process.is_alive():
            time.sleep(0.002)
        process.kill()
        assert ended(process) == -signal.SIGKILL
        assert not any((killed / "models" / name).exists() for name in OUTPUTS[:2])
        check_history_so_far(killed, whole, moment - 3)
    assert ended(start(killed)) == 0
    printed = (killed / "printed.txt").read_text()
    assert "resuming an interrupted training: members 0, 1 go on after their last epoch" in printed

    assert results(killed) == results(whole)
    # Finished epochs are not trained again: each kill costs at most the epoch in progress, and one that was
    # logged but not yet saved.
    assert 2 * both <= logged_epochs(killed) <= 2 * both + 3 * 2
    assert not (killed / resuming.FOLDER).exists()
