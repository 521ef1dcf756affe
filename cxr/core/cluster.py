"""Independent tasks on a Ray cluster (https://docs.ray.io), which another process has started.

The folder in which this process runs must have the same path on every node, as a shared file system has it: a
task reads the data set there, and saves there what it goes on from when Ray retries it on another node.
"""

import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from cxr.core.connection import connected
from cxr.core.device import configure, processor
from cxr.core.errors import UserError
from cxr.core.log import open_log
from cxr.core.processes import TOGETHER, Tick
from cxr.params import Compute

RETRIES = 3  # of a task whose process or node has ended; a task that raises is not retried
SECONDS = 0.5  # between two looks at the tasks
# What the driver hands on to its tasks: where published weights are found.
ENVIRONMENT = ("CXR_", "HF_", "TORCH_HOME")

T = TypeVar("T")


@dataclass(frozen=True)
class Driver:
    """What a task finds wherever it runs as in the process that asked for it."""

    folder: str
    environment: dict[str, str]
    torch_version: str
    compute: Compute

    @classmethod
    def this(cls, compute: Compute) -> "Driver":
        environment = {key: value for key, value in os.environ.items() if key.startswith(ENVIRONMENT)}
        return cls(str(Path.cwd()), environment, torch.__version__, compute)

    def enter(self) -> None:
        """Raises `UserError` on a node that lacks the folder, or has another PyTorch."""
        node = f"Ray node {socket.gethostname()}"
        if not Path(self.folder).is_dir():
            raise UserError(
                f"{node}: there is no folder {self.folder}; every node needs it at the same path, from a "
                "shared file system"
            )
        if torch.__version__ != self.torch_version:
            raise UserError(
                f"{node}: PyTorch is {torch.__version__}, here {self.torch_version}; start Ray there from "
                "the same environment (`uv sync --frozen --extra ray`)"
            )
        os.chdir(self.folder)
        os.environ.update(self.environment)
        configure(self.compute.device, self.compute.threads)


class Progress:
    """A Ray actor on the node of the driver. done: steps of each task, those of its last attempt."""

    def __init__(self) -> None:
        self.done: dict[int, int] = {}

    def report(self, number: int, steps: int) -> None:
        self.done[number] = max(steps, self.done.get(number, 0))

    def total(self) -> int:
        return sum(self.done.values())


def on_cluster(
    task: Callable[[int, Tick], T], count: int, compute: Compute, bar: tqdm, together: bool = False
) -> list[T]:
    """`cxr.core.engine.side_by_side` on the cluster: as many tasks at a time as its cores, or GPUs, allow;
    with `together` `cxr.core.engine.all_at_once`.

    A task whose node or process ends is retried, `RETRIES` times, unless `together`. A line is printed if
    tasks ran on another type of processor than this one, where last digits may differ; logs/cluster.log says
    where each ran. Raises `UserError` if the cluster cannot be reached or lacks the folder, or if the
    processes of a task were killed again and again.
    """
    if not count:
        return []
    device = configure(compute.device, compute.threads)
    retries = 0 if together else RETRIES
    with connected() as ray:
        if together:
            _check_room(ray, count, compute.threads, device)
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        progress = ray.remote(Progress).options(num_cpus=0, scheduling_strategy=here).remote()
        remote = ray.remote(_run).options(
            num_cpus=compute.threads,
            num_gpus=int(device.type == "cuda"),
            max_retries=retries,
        )
        # Pickled here, so that a node without the folder can say so before it imports what is in it.
        shared = ray.put(ray.cloudpickle.dumps(task)), Driver.this(compute)
        tasks = [remote.remote(*shared, number, progress) for number in range(count)]
        try:
            results = _follow(ray, tasks, progress, bar, retries)
        except BaseException:
            for each in tasks:
                ray.cancel(each, force=True)
            raise
    tell_processors({number: where for number, (_, where) in enumerate(results)}, "tasks")
    return [result for result, _ in results]


@contextmanager
def user_errors() -> Iterator[None]:
    """A `UserError` that a task raised on a node is raised as what it was."""
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError as error:
        cause: BaseException | None = error.cause
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise UserError(str(cause)) from None


def node_name() -> str:
    """The host on which this runs and, in a task of Ray, the address of its node: a host may have several."""
    ray = sys.modules.get("ray")
    address = f"/{ray.util.get_node_ip_address()}" if ray and ray.is_initialized() else ""
    return f"{socket.gethostname()}{address}"


def tell_processors(where: Mapping[int, str], what: str) -> None:
    """Print a line if some ran on another type of processor than this machine's. where: the type by number.
    what: is numbered."""
    other = [f"{number} ({name})" for number, name in sorted(where.items()) if name != processor()]
    if other:
        line = (
            f"not on the type of processor that this machine has ({processor()}), so last digits may differ: "
            f"{what} {', '.join(other)}"
        )
        open_log("cluster").warning(line)
        print(line)


def _check_room(ray: Any, count: int, threads: int, device: torch.device) -> None:
    """Tasks that wait for one another would wait for ever for one that finds no place."""
    kind, each = ("GPU", 1) if device.type == "cuda" else ("CPU", threads)
    there = int(ray.cluster_resources().get(kind, 0))
    if there < count * each:
        raise UserError(
            f"{count} processes that train together need {count * each} {kind}s, but the Ray cluster has "
            f"{there}; lower train.processes in params.yaml, or add nodes"
        )


def _follow(ray: Any, tasks: Sequence[Any], progress: Any, bar: tqdm, retries: int) -> list[tuple[Any, str]]:
    """What each task returns, fetched as soon as it has ended, before its node may end. Raises the first
    exception of one."""
    results: dict[Any, tuple[Any, str]] = {}
    shown, pending = 0, list(tasks)
    while pending:
        done, pending = ray.wait(pending, timeout=SECONDS)
        if (total := ray.get(progress.total.remote())) > shown:
            bar.update(total - shown)
            shown = total
        for task in done:
            try:
                with user_errors():
                    results[task] = ray.get(task)
            except (
                ray.exceptions.WorkerCrashedError,
                ray.exceptions.OutOfMemoryError,
                ray.exceptions.NodeDiedError,
            ):
                times = f"killed {retries + 1} times" if retries else "killed"
                raise UserError(
                    f"the process of a task was {times}, as happens when memory is short; "
                    + ("give the nodes fewer CPUs (`ray start --num-cpus`)" if retries else TOGETHER)
                ) from None
    return [results[task] for task in tasks]


def _run(pickled: bytes, driver: Driver, number: int, progress: Any) -> tuple[Any, str]:
    """On a node: the result of task `number`, and the type of the processor it ran on."""
    driver.enter()
    where = node_name(), os.getpid(), processor()
    open_log("cluster").info("task %d on %s, process %d, %s", number, *where)
    steps, reported = 0, None

    def tick() -> None:
        nonlocal steps, reported
        steps += 1
        reported = progress.report.remote(number, steps)

    result = pickle.loads(pickled)(number, tick)
    if reported:
        import ray

        ray.get(reported)  # else the bar could lack the last step
    return result, processor()
