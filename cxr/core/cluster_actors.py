"""Work on a Ray cluster that needs something loaded first, such as a network: by Ray Data
(https://docs.ray.io/en/latest/data/data.html), whose actors load it once.

Numbers alone pass through Ray. What belongs to a number an actor reads from the folder that all nodes share,
and its result is a file there, so that a node's memory does not grow with their count.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from cxr.core.cluster import Driver, tell_processors, user_errors
from cxr.core.connection import connected
from cxr.core.device import configure, processor
from cxr.core.processes import Work
from cxr.params import Compute


class Actor:
    """A Ray actor: calls `make` once, and what that returns with number after number."""

    def __init__(self, make: Callable[[], Work], driver: Driver) -> None:
        driver.enter()
        self.work = make()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """batch: `number`. Returns it with `steps`, the calls of `tick`, and `processor`, the type of this
        node's."""
        steps = [0] * len(batch["number"])
        for place, number in enumerate(batch["number"].tolist()):

            def tick(place: int = place) -> None:
                steps[place] += 1

            self.work(number, tick)
        return batch | {"steps": np.array(steps), "processor": np.array([processor()] * len(steps))}


def on_actors(
    make: Callable[[], Work], numbers: Sequence[int], compute: Compute, bar: tqdm, what: str
) -> None:
    """`cxr.core.engine.by_loaded` on the cluster: as many actors as its cores, or GPUs, allow.

    An actor whose node or process ends is replaced, and its number worked on again. A line is printed if
    actors ran on another type of processor than this one. Raises `UserError` as `make` and what it returns
    do, or if there is no cluster.
    """
    device = configure(compute.device, compute.threads)
    with connected() as ray:
        from ray import data

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        data.DataContext.get_current().enable_progress_bars = False
        gpus = int(device.type == "cuda")
        places = ray.cluster_resources()
        actors = places.get("GPU", 0) if gpus else places.get("CPU", 0) // compute.threads
        rows = data.from_items([{"number": each} for each in numbers], override_num_blocks=len(numbers))
        done = rows.map_batches(
            Actor,
            fn_constructor_args=(make, Driver.this(compute)),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=max(1, min(int(actors), len(numbers)))),
            num_cpus=compute.threads,
            num_gpus=gpus,
        )
        where: dict[int, str] = {}
        with user_errors():
            for row in done.iter_rows():
                where[int(row["number"])] = str(row["processor"])
                bar.update(int(row["steps"]))
    tell_processors(where, what)
