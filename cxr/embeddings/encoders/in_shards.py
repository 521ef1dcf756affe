"""Embeddings of many images on a Ray cluster, by Ray Data (https://docs.ray.io/en/latest/data/data.html).

Row numbers alone pass through Ray: an actor on each core or GPU maps the file of images, which lies in the
folder that all nodes share, and writes the embeddings of a shard of its rows to a file beside the others. A
node's memory does not grow with the number of images, and a run that was killed goes on with the missing
shards.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from cxr.core.cluster import Driver, connected, tell_processors, user_errors
from cxr.core.device import processor
from cxr.core.files import write_npy
from cxr.core.resuming import FOLDER, resume_key
from cxr.params import Compute

Embed = Callable[[np.ndarray], np.ndarray]  # (n, S, S) uint8 to (n, d) float32

SHARD = 4096  # images


@dataclass(frozen=True)
class Shards:
    """images: (N, S, S) uint8, a .npy file. size: images in a shard, a whole number of an encoder's batches,
    so that batches are those of one process. folder: of the shards."""

    images: Path
    size: int
    folder: Path

    def path(self, start: int) -> Path:
        return self.folder / f"shard_{start:09}.npy"

    def starts(self) -> range:
        """The first row of each shard."""
        return range(0, len(np.load(self.images, mmap_mode="r")), self.size)


class ShardWriter:
    """A Ray actor: loads an encoder once, and embeds shard after shard."""

    def __init__(self, make: Callable[[], Embed], shards: Shards, driver: Driver) -> None:
        driver.enter()
        self.embed, self.shards = make(), shards

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """batch: `start`, the first rows of shards. Returns it with `processor`, the type of this node's."""
        images = np.load(self.shards.images, mmap_mode="r")
        for start in batch["start"].tolist():
            write_npy(self.shards.path(start), self.embed(images[start : start + self.shards.size]))
        return batch | {"processor": np.array([processor()] * len(batch["start"]))}


def embed_in_shards(
    make: Callable[[], Embed],
    images: Path,
    batch: int,
    settings: list[object],
    device: torch.device,
    compute: Compute,
) -> np.ndarray:
    """`make()` of all images in the file `images`, (N, S, S) uint8, as one process computes it in batches of
    `batch`. Returns (N, d) float32.

    settings: what else determines the result. Raises `UserError` as `make` does, or if there is no cluster.
    """
    key = resume_key([*settings, device.type, compute.threads, batch], [images])
    shards = Shards(images, batch * max(1, SHARD // batch), FOLDER / key)
    starts = shards.starts()
    missing = [start for start in starts if not shards.path(start).is_file()]
    if len(missing) < len(starts):
        print(f"going on with {len(missing)} of {len(starts)} shards")
    if missing:
        with connected() as ray, tqdm(total=len(missing), unit="shard", disable=None) as bar:
            gpus = int(device.type == "cuda")
            places = ray.cluster_resources()
            actors = places.get("GPU", 0) if gpus else places.get("CPU", 0) // compute.threads
            pool = max(1, min(int(actors), len(missing)))
            arguments = (make, shards, Driver.this(compute))
            resources = {"num_cpus": compute.threads, "num_gpus": gpus}
            tell_processors(_write(missing, arguments, pool, resources, bar), "shards")
    embeddings = np.concatenate([np.load(shards.path(start), mmap_mode="r") for start in starts])
    shutil.rmtree(shards.folder)
    return embeddings


def _write(
    missing: list[int], arguments: tuple[object, ...], pool: int, resources: dict[str, int], bar: tqdm
) -> dict[int, str]:
    """The type of the processor that computed each of the `missing` shards. pool: actors that do."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.from_items([{"start": start} for start in missing], override_num_blocks=len(missing))
    actors = ray.data.ActorPoolStrategy(size=pool)
    done = rows.map_batches(
        ShardWriter, fn_constructor_args=arguments, batch_size=1, compute=actors, **resources
    )
    where = {}
    with user_errors():
        for row in done.iter_rows():
            where[int(row["start"])] = str(row["processor"])
            bar.update()
    return where
