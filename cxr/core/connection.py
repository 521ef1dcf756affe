"""The connection to a Ray cluster (https://docs.ray.io) of the pipeline and, without PyTorch, the service."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cxr.core.errors import UserError


@contextmanager
def connected() -> Iterator[Any]:
    """Ray, connected to the cluster of RAY_ADDRESS. Raises `UserError` if Ray is not installed or no cluster
    answers."""
    address = os.environ["RAY_ADDRESS"]
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Of a dead node the driver would also print the last 20 lines of its log.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^Raylet is terminated")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise UserError(
            f"RAY_ADDRESS is {address}, but Ray is not installed; run `uv sync --inexact --extra ray`, "
            "or unset the variable"
        ) from None
    if ray.is_initialized():
        yield ray
        return
    unreachable = f"RAY_ADDRESS is {address}, but no Ray cluster answers there"
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, ValueError, OverflowError):
            raise UserError(
                f"{unreachable}; start one with `ray start --head`, or unset the variable"
            ) from None
    try:
        ray.init(address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise UserError(f"{unreachable} for this machine: {str(error).strip().splitlines()[0]}") from None
    try:
        yield ray
    finally:
        ray.shutdown()
