"""All members of the ensemble, one after another, each trained by `train.processes` processes together.

They are started by `cxr.core.engine`, on this machine or a Ray cluster, or by torchrun
(https://docs.pytorch.org/docs/stable/elastic/run.html), which sets what the environment says of them.
"""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from tqdm import tqdm

from cxr.core.engine import Tick, all_at_once, on_ray, side_by_side
from cxr.core.errors import UserError
from cxr.core.resuming import FOLDER
from cxr.training.member import MemberTask, Trained
from cxr.training.share import Share

TORCHRUN = "TORCHELASTIC_RUN_ID"  # in the environment of a process that torchrun has started
PATIENCE = 30.0  # seconds in which whoever started a process ends it because of another one's failure
LOOPBACK = {"lo", "lo0"}  # the interface's name on Linux, and on macOS


def train_members(task: MemberTask, bar: tqdm) -> list[Trained]:
    """The trained members; in a process of torchrun that is not the first one none.

    Raises `UserError` as `train_member` does, if torchrun has started another number of processes than
    `train.processes`, if there are too few GPUs, or if one of the processes is killed.
    """
    params, members = task.params, task.spec.members
    count = 1 if task.spec.encoder else params.train.processes
    started = int(os.environ["WORLD_SIZE"]) if TORCHRUN in os.environ else count
    if started != count:
        raise UserError(
            f"params.yaml: train.processes is {count}, but torchrun has started {started}; the two must be "
            "equal (with model.backbone encoder 1)"
        )
    if count == 1:
        return side_by_side(task, members, params.compute, bar)
    if TORCHRUN in os.environ:
        return DistributedTask(task, "env://")(int(os.environ["RANK"]), bar.update)
    gpus = torch.cuda.device_count()
    if task.device.type == "cuda" and not on_ray() and gpus < count:
        raise UserError(
            f"params.yaml: train.processes is {count}, but PyTorch finds {gpus} GPUs on this machine; set "
            "it to as many at most, or use several machines (docs/scale.md)"
        )
    FOLDER.mkdir(exist_ok=True)
    meeting = Path(tempfile.mkdtemp(prefix="meeting-", dir=FOLDER)).absolute()
    try:
        together = DistributedTask(task, f"file://{meeting}/store")
        return all_at_once(together, count, params.compute, bar)[0]
    finally:
        shutil.rmtree(meeting, ignore_errors=True)


@dataclass(frozen=True)
class DistributedTask:
    """What each of the processes does: it trains every member of `task` with the others. Returns the members
    in the first process. meeting: the URL at which they find each other (see
    `torch.distributed.init_process_group`)."""

    task: MemberTask
    meeting: str

    def __call__(self, rank: int, tick: Tick) -> list[Trained]:
        share = Share(rank, self.task.params.train.processes)
        with process_group(self.meeting, share, self.task.device):
            step = tick if share.first else _no_tick
            trained = [self.task(number, step, share) for number in range(self.task.spec.members)]
        return trained if share.first else []


@contextmanager
def process_group(meeting: str, share: Share, device: torch.device) -> Iterator[None]:
    """On CPUs gloo connects the processes, on GPUs NCCL: then each has one to itself."""
    if meeting.startswith("file:") and not on_ray():
        for name in {name for _, name in socket.if_nameindex()} & LOOPBACK:
            os.environ["GLOO_SOCKET_IFNAME"] = name
    backend = "gloo"
    if device.type == "cuda":
        # On a cluster Ray shows a process its own GPU alone.
        local = int(os.environ.get("LOCAL_RANK", share.rank))
        torch.cuda.set_device(local % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend, init_method=meeting, rank=share.rank, world_size=share.count)
        yield
        dist.destroy_process_group()
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        # Whoever started the processes knows which one failed, and why.
        time.sleep(PATIENCE)
        raise UserError(
            f"process {share.rank} of {share.count} (train.processes in params.yaml) has lost the connection "
            "to another one; run again, which goes on after the last epoch"
        ) from None


def _no_tick() -> None:
    """Progress is reported by the first process alone."""
