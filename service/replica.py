"""The application as a deployment of Ray Serve; `python -m service.on_ray` deploys it.

Serve imports this module on the nodes of its cluster, where Ray is installed; nothing else imports it.
"""

import asyncio
from typing import Any

from fastapi import FastAPI
from ray import serve

from service.app import create_app
from service.protocol import MAX_CONNECTIONS
from service.settings import Settings
from service.state import State

RETRY_AFTER = 10  # seconds, as `service.protocol` says when there are too many connections


def build() -> FastAPI:
    """In a replica: settings from the environment that the service was deployed with."""
    return create_app(Settings.from_environment())


# Serve holds requests back that would be more than the connections of `python -m service`, and rejects when
# as many wait; a replica itself rejects far earlier those for which its queue has no place.
@serve.deployment(
    max_ongoing_requests=MAX_CONNECTIONS,
    max_queued_requests=MAX_CONNECTIONS,
    backpressure_config={"retry_after_s": RETRY_AFTER},
    health_check_period_s=5,
)
@serve.ingress(build)
class Replica:
    """One process with a model, a queue and limits of its own, as `python -m service` is.

    Requests never wait for `reconfigure`: they are answered by the previous model while the next is loaded.
    """

    app: FastAPI  # set by Serve, from `build`

    def __init__(self, needs_key: bool) -> None:
        """Raises `RuntimeError` on a node whose environment lacks the API key."""
        if needs_key and not Settings.from_environment().api_key:
            raise RuntimeError(
                "CXR_API_KEY is not set on this node, but where the service was deployed; set it before "
                "`ray start`"
            )
        self.sha256 = ""

    async def reconfigure(self, wanted: dict[str, Any]) -> None:
        """Load the model with the hash `wanted["model_sha256"]`: at the start, and one replica after the
        other when the service is deployed again. Raises `UserError` if that is not the model file."""
        await asyncio.to_thread(self.state.load, wanted["model_sha256"])
        self.sha256 = wanted["model_sha256"]

    def check_health(self) -> None:
        """Raises `Problem` if no model is loaded."""
        self.state.loaded()

    @property
    def state(self) -> State:
        return self.app.state.service


def application(arguments: dict[str, Any]) -> serve.Application:
    """arguments: needs_key, whether requests have to send an API key."""
    return Replica.bind(arguments["needs_key"])
