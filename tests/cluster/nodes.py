"""Two nodes of a Ray cluster on this machine, for the tests of this folder."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cxr.core.engine import ADDRESS
from cxr.params import Compute
from tests.builders import ROOT, settings

HEAD, SECOND = "127.0.0.2", "127.0.0.3"  # Ray replaces 127.0.0.1 by the machine's outer address
LIMIT = 600.0  # seconds for anything, on a busy machine
COMPUTE: Compute = settings("compute", device="cpu", workers=1, threads=1)


def two_nodes() -> Iterator[Any]:
    """Two nodes of one CPU, and RAY_ADDRESS for what runs meanwhile."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(True, head_node_args={"node_ip_address": HEAD, "include_dashboard": False})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ADDRESS, nodes.address)
        patch.setenv("PYTHONPATH", str(ROOT))
        nodes.add_node(node_ip_address=SECOND)
        yield nodes
        nodes.shutdown()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "not true in time"
        time.sleep(0.05)


def kill_second(cluster: Any) -> None:
    """SIGKILL to every process of the second node."""
    (node,) = cluster.worker_nodes
    cluster.remove_node(node, allow_graceful=False)
