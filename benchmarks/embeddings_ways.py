"""The ways that `benchmarks.embeddings_on_ray` compares; as a program, one of them.

python -m benchmarks.embeddings_ways WAY IMAGES
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import timm
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from cxr.core.files import write_npy_parts
from cxr.core.processes import Tick, in_processes
from cxr.embeddings.encoders.embed import embed_by_network, embedded_parts
from cxr.params import ClipEmbed, load_params

ENCODER = "test_vit"
IMAGES, OUTPUT, SHARD = "images.npy", "embeddings.npy", 4096
ONE, TWO, RAY = "one process", "two processes", "ray"
WAYS = {ONE: 2, TWO: 1, RAY: 1}  # threads of a worker
HEAD_NODE, SECOND_NODE = "127.0.0.2", "127.0.0.3"  # Ray replaces 127.0.0.1 by the machine's outer address
REPOSITORY = Path(__file__).parents[1]


def save_encoder(folder: Path) -> None:
    """Random weights in the layout of the hub, in `folder`/mirror."""
    target = folder / f"mirror/timm/{ENCODER}.r160_in1k"
    target.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(timm.create_model(ENCODER).state_dict(), target / "model.safetensors")


@contextmanager
def two_nodes() -> Iterator[tuple[str, Callable[[], dict[str, list[psutil.Process]]]]]:
    """A cluster of two nodes of one CPU: its address, and the worker processes of each node."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(True, head_node_args={"node_ip_address": HEAD_NODE, "include_dashboard": False})
    cluster.add_node(node_ip_address=SECOND_NODE)

    def workers() -> dict[str, list[psutil.Process]]:
        found: dict[str, list[psutil.Process]] = {HEAD_NODE: [], SECOND_NODE: []}
        for process in psutil.Process().children(recursive=True):
            try:
                line = process.cmdline()
                if line and line[0].startswith("ray::") and not line[0].endswith("Agent"):
                    parent = process.parent()
                    address = (
                        SECOND_NODE if parent and SECOND_NODE in " ".join(parent.cmdline()) else HEAD_NODE
                    )
                    found[address].append(process)
            except psutil.Error:
                continue
        return found

    try:
        yield cluster.address, workers
    finally:
        cluster.shutdown()


def main() -> None:
    way, path = sys.argv[1:]
    params = load_params(REPOSITORY / "params.yaml")
    settings = params.clip_embed.replace(encoder=f"timm:{ENCODER}", precision="float32")
    compute = params.compute.replace(device="cpu", threads=WAYS[way], workers=2)
    array = np.load(path, mmap_mode="r")
    if way == TWO:
        with tqdm(disable=True) as bar:
            parts = in_processes(partial(half, Path(path), settings), 2, compute, bar)
        write_npy_parts(OUTPUT, parts)
        return
    with embedded_parts(array, np.arange(0), settings, compute) as parts:
        write_npy_parts(OUTPUT, parts)


def half(path: Path, settings: ClipEmbed, number: int, tick: Tick) -> np.ndarray:
    """Of the images, cut where a shard ends, so that batches are those of one process."""
    array = np.load(path, mmap_mode="r")
    middle = len(array) // 2 // SHARD * SHARD
    part = array[:middle] if number == 0 else array[middle:]
    return embed_by_network(part, settings, torch.device("cpu"))


if __name__ == "__main__":
    main()
