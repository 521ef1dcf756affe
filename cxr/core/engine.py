"""Where independent tasks run: in processes of this machine, or on the Ray cluster that RAY_ADDRESS names.

An environment variable rather than a parameter, because no result depends on it, so that no stage becomes out
of date.
"""

import os
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TypeVar

from tqdm import tqdm

from cxr.core.processes import Tick, Work, in_processes, in_workers, worker_count
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


def by_loaded(make: Callable[[], Work], numbers: Sequence[int], compute: Compute, bar: tqdm) -> None:
    """`make()(number, tick)` for each of `numbers`, several at a time, with `make` called once in each
    process; `bar` advances with each `tick()`. Without a cluster PyTorch is neither needed nor configured.

    make: picklable, and equal to what another process unpickles. Raises `UserError` as it and what it returns
    do, or if a process is killed.
    """
    if on_ray():
        from cxr.core.cluster_actors import on_actors

        on_actors(make, numbers, compute, bar, "shards")
    else:
        workers = min(len(numbers), worker_count(compute))
        in_workers(partial(_by_loaded, make, numbers), len(numbers), workers, bar)


def _by_loaded(make: Callable[[], Work], numbers: Sequence[int], index: int, tick: Tick) -> None:
    _loaded(make)(numbers[index], tick)


@lru_cache(maxsize=1)
def _loaded(make: Callable[[], Work]) -> Work:
    return make()


def on_ray() -> bool:
    """Whether the environment names a Ray cluster."""
    return bool(os.environ.get(ADDRESS))
