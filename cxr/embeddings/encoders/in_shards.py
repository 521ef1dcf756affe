"""Embeddings of many images on a Ray cluster.

An actor on each core or GPU maps the file of images, which lies in the folder that all nodes share, and
writes the embeddings of a shard of its rows to a file beside the others. A node's memory does not grow with
the number of images, and a run that was killed goes on with the missing shards.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cxr.core.cluster_actors import on_actors
from cxr.core.dataset import ImageRows
from cxr.core.device import configure
from cxr.core.files import write_npy
from cxr.core.processes import Tick, Work
from cxr.core.resuming import FOLDER, resume_key
from cxr.params import Compute

Embed = Callable[[ImageRows], np.ndarray]  # (n, S, S) uint8 to (n, d) float32

SHARD = 4096  # images


@dataclass(frozen=True)
class RowsOfFile:
    """What is embedded: the `rows`, (n,) int, of `images`, a .npy file of (N, S, S) uint8."""

    images: Path
    rows: np.ndarray

    @classmethod
    def of(cls, images: np.memmap, rows: np.ndarray | None = None) -> "RowsOfFile":
        """rows: None for all."""
        return cls(Path(str(images.filename)), np.arange(len(images)) if rows is None else rows)


@dataclass(frozen=True)
class Shards:
    """size: images in a shard. folder: of the shards."""

    source: RowsOfFile
    size: int
    folder: Path

    def path(self, number: int) -> Path:
        return self.folder / f"shard_{number:06}.npy"

    def numbers(self) -> range:
        return range(-(-len(self.source.rows) // self.size))

    def rows(self, number: int) -> np.ndarray:
        return self.source.rows[number * self.size : (number + 1) * self.size]


@contextmanager
def embedded_shards(
    make: Callable[[], Embed],
    source: RowsOfFile,
    batch: int,
    settings: Sequence[object],
    files: Sequence[Path],
    compute: Compute,
) -> Iterator[list[np.ndarray]]:
    """`make()` of the images of `source`, as one process computes it in batches of `batch`: memory maps of
    (n, d) float32, in the order of the images. Their files are removed when the block ends without an error.

    settings, files: what else determines the result. Raises `UserError` as `make` does, or if there is no
    cluster.
    """
    device = configure(compute.device, compute.threads)
    determining = [*settings, device.type, compute.threads, batch, sha256(source.rows.tobytes()).hexdigest()]
    key = resume_key(determining, [source.images, *files])
    # A whole number of batches, so that batches are those of one process.
    shards = Shards(source, batch * max(1, SHARD // batch), FOLDER / key)
    numbers = shards.numbers()
    missing = [number for number in numbers if not shards.path(number).is_file()]
    if len(missing) < len(numbers):
        print(f"going on with {len(missing)} of {len(numbers)} shards")
    if missing:
        with tqdm(total=len(missing), unit="shard", disable=None) as bar:
            on_actors(partial(shard_writer, make, shards), missing, compute, bar, "shards")
    yield [np.load(shards.path(number), mmap_mode="r") for number in numbers]
    shutil.rmtree(shards.folder, ignore_errors=not numbers)


def shard_writer(make: Callable[[], Embed], shards: Shards) -> Work:
    """Loads an encoder once. What it returns writes the shard of a number."""
    embed = make()
    images = np.load(shards.source.images, mmap_mode="r")

    def write(number: int, tick: Tick) -> None:
        write_npy(shards.path(number), embed(ImageRows(images, shards.rows(number))))
        tick()

    return write
