"""`RAY_ADDRESS=10.0.0.1:6379 python -m service.on_ray [--host 127.0.0.1] [--port 8000] [--replicas 2 8]`: the
service on a Ray cluster, in processes of Ray Serve that answer as `python -m service` does.

The command ends when all replicas answer. Run again after the model has changed, it replaces the model in one
replica after the other, and no request fails.
"""

import argparse
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxr.core.connection import connected
from cxr.core.errors import UserError, run
from service.pool import WORKERS
from service.served import load_served
from service.settings import Settings

NAME = "cxr"  # of the application, in Ray Serve
# Of Serve's own processes. By default it takes replicas of its node alone, until each of these has as many
# requests as Serve allows; and gives its HTTP process 15 s to start, which a busy machine exceeds.
SERVE = {"RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
DEFAULTS = {"CXR_THREADS": "1"}  # replicas of a node share its cores
POLL = 0.5  # seconds
LIMIT = 600.0  # seconds for all replicas to be ready


def main() -> None:
    """Raises `UserError` if a setting is invalid, there is no model, Ray is not installed, the cluster cannot
    be reached, or a replica does not start."""
    parser = argparse.ArgumentParser(
        prog="python -m service.on_ray", description="Serve the classifier over HTTP, from a Ray cluster."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    parser.add_argument(
        "--replicas",
        type=int,
        nargs="+",
        default=[2],
        metavar="N",
        help="how many; of two numbers the fewest and the most, by load; 0 ends the service (default: 2)",
    )
    arguments = parser.parse_args()
    least, most = arguments.replicas[0], arguments.replicas[-1]
    end = arguments.replicas == [0]
    if len(arguments.replicas) > 2 or not (end or 1 <= least <= most):
        raise UserError("--replicas: a whole number, or two of 1 or more: the fewest and the most")
    if end:
        with ray_serve() as serve:
            serve.shutdown()
        return
    settings = Settings.from_environment({**DEFAULTS, **os.environ})
    sha256 = load_served(settings).model.sha256
    listening = {"host": arguments.host, "port": arguments.port}
    with ray_serve() as serve, serve_errors():
        count = deploy(serve, configuration(settings, sha256, listening, least, most))
    where = f"http://{arguments.host}:{arguments.port}"
    print(f"{where}: model of SHA-256 {sha256}, replicas: {count}")


def configuration(
    settings: Settings, sha256: str, listening: dict[str, Any], least: int, most: int
) -> dict[str, Any]:
    """The configuration of Ray Serve (https://docs.ray.io/en/latest/serve/production-guide/config.html). A
    replica starts again if `runtime_env` or `ray_actor_options` change, and loads the model again if
    `user_config` does. listening: host and port."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("CXR_")}
    variables.pop("CXR_API_KEY", None)  # Ray shows the configuration to whoever reaches its dashboard
    folders = {"CXR_HOME": str(settings.home.resolve()), "CXR_MODEL": str(settings.model.resolve())}
    code = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    return {
        "proxy_location": "HeadOnly",
        "controller_options": {"runtime_env": {"env_vars": SERVE}},
        "http_options": listening,
        # It has raw paths, which may name a patient; `service.telemetry` logs requests.
        "logging_config": {"enable_access_log": False},
        "applications": [
            {
                "name": NAME,
                "route_prefix": "/",
                "import_path": "service.replica:application",
                "args": {"needs_key": settings.api_key is not None},
                "runtime_env": {"env_vars": {**DEFAULTS, **variables, **folders, **code}},
                "deployments": [
                    {
                        "name": "Replica",
                        "autoscaling_config": {
                            "min_replicas": least,
                            "max_replicas": most,
                            "target_ongoing_requests": WORKERS,
                        },
                        "ray_actor_options": {"num_cpus": settings.threads},
                        # For the upload of a request that is being answered, and for its answer.
                        "graceful_shutdown_timeout_s": 2 * settings.timeout,
                        "user_config": {"model_sha256": sha256, "deployed": time.time()},
                    }
                ],
            }
        ],
    }


@contextmanager
def ray_serve() -> Iterator[Any]:
    """The module `ray.serve`, connected to the cluster of RAY_ADDRESS. Raises `UserError` if there is none,
    or Ray is not installed."""
    if not os.environ.get("RAY_ADDRESS"):
        raise UserError(
            "RAY_ADDRESS is not set: host and port of a Ray cluster, or auto for the one on this machine; "
            "`python -m service` needs no cluster"
        )
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    with connected():
        from ray import serve

        yield serve


def deploy(serve: Any, wanted: dict[str, Any]) -> int:
    """The number of replicas, once all of them answer. wanted: see `configuration`. Raises `UserError` if
    Serve runs something else, which would end, or listens somewhere else, or if a replica cannot start."""
    # As the command `serve run FILE` does. Of what Ray documents for programs, `serve.run` would start all
    # replicas again, and the REST interface needs Ray's dashboard, through which anybody can run code.
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    serve.start(**{name: value for name, value in wanted.items() if name != "applications"})
    client = _get_global_client()
    if others := sorted(set(serve.status().applications) - {NAME}):
        raise UserError(
            f"Ray Serve of this cluster runs {', '.join(others)}, which would end; use another cluster"
        )
    at = {name: getattr(client.http_config, name) for name in wanted["http_options"]}
    if at != wanted["http_options"]:
        listens = f"--host {at['host']} --port {at['port']}"
        raise UserError(
            f"Ray Serve listens on {listens} already; use that, or end it first with --replicas 0"
        )
    client.deploy_apps(ServeDeploySchema.model_validate(wanted))
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        application = serve.status().applications[NAME]
        replica = application.deployments.get("Replica")
        if application.status == "RUNNING" and replica:
            return int(replica.replica_states["RUNNING"])
        if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise UserError(f"Ray Serve: {reason(replica.message if replica else application.message)}")
        time.sleep(POLL)
    raise UserError(f"not all replicas are ready after {LIMIT:.0f} s; do the nodes have as many free CPUs?")


@contextmanager
def serve_errors() -> Iterator[None]:
    """Raises `UserError` in place of what Ray raises when processes of Serve do not start."""
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    try:
        yield
    except (RayError, RayServeException, TimeoutError) as error:
        raise UserError(f"Ray Serve: {reason(str(error))}") from None


def reason(message: str) -> str:
    """The last line of a traceback, without the name of the exception, or of what else Serve says."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return re.sub(r"^[\w.]+Error: ", "", lines[-1]) if lines else "no reason given"


if __name__ == "__main__":
    run(main)
