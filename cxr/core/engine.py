"""Where independent tasks run: in processes of this machine, or on the Ray cluster that RAY_ADDRESS names.

An environment variable rather than a parameter, because no result depends on it, so that no stage becomes out
of date.
"""

import os
from collections.abc import Callable
from typing import TypeVar

from tqdm import tqdm

from cxr.core.processes import Tick, in_processes
from cxr.params import Compute

ADDRESS = "RAY_ADDRESS"  # Ray's own variable: host:port of a cluster, or auto for the one on this machine

T = TypeVar("T")


def side_by_side(task: Callable[[int, Tick], T], count: int, compute: Compute, bar: tqdm) -> list[T]:
    """[task(0, tick), ..., task(count - 1, tick)], several at a time; `bar` advances with each `tick()`.

    `task` and its results must be picklable. PyTorch is configured by `compute` wherever a task runs. The
    first exception of a task is raised here, and the other tasks are ended. Raises `UserError` if the process
    of a task is killed, on a cluster repeatedly (see `cxr.core.cluster.on_cluster`).
    """
    if on_ray():
        from cxr.core.cluster import on_cluster  # Ray is an optional dependency, and takes a second to import

        return on_cluster(task, count, compute, bar)
    return in_processes(task, count, compute, bar)


def all_at_once(task: Callable[[int, Tick], T], count: int, compute: Compute, bar: tqdm) -> list[T]:
    """As `side_by_side`, for tasks that wait for one another: each has a process of its own from the start,
    whatever `compute.workers` says, and on a cluster none is retried alone.

    Raises `UserError` if the process of a task is killed, or if the cluster has not enough CPUs or GPUs.
    """
    if on_ray():
        from cxr.core.cluster import on_cluster

        return on_cluster(task, count, compute, bar, together=True)
    return in_processes(task, count, compute, bar, together=True)


def on_ray() -> bool:
    """Whether the environment names a Ray cluster."""
    return bool(os.environ.get(ADDRESS))
