"""The application as a deployment of Ray Serve, which `python -m service.on_ray` asks for."""

import asyncio
from typing import Any

from fastapi import FastAPI

from service.app import create_app
from service.protocol import MAX_CONNECTIONS
from service.settings import Settings
from service.state import State

RETRY_AFTER = 10  # seconds, as `service.protocol` says when there are too many connections


class Replica:
    """One process with a model, a queue and limits of its own, as `python -m service` is.

    No request waits for `reconfigure`: the previous model answers while the next one is loaded.
    """

    app: FastAPI  # set by Serve, from `build`

    def __init__(self, needs_key: bool) -> None:
        """Raises `UserError` if a setting is invalid, and `RuntimeError` if the node lacks the API key."""
        if needs_key and not Settings.from_environment().api_key:
            raise RuntimeError(
                "CXR_API_KEY is set where the service was deployed, but not on this node; set it before "
                "`ray start`"
            )

    async def reconfigure(self, wanted: dict[str, Any]) -> None:
        """Load the model with the hash `wanted["model_sha256"]`: at the start, and in one replica after the
        other when the service is deployed again. Raises `UserError` if the model file is another."""
        await asyncio.to_thread(self.state.load, wanted["model_sha256"])

    def check_health(self) -> None:
        """Raises `Problem` if no model is loaded."""
        self.state.loaded()

    @property
    def state(self) -> State:
        state: State = self.app.state.service
        return state


def build() -> FastAPI:
    """In a replica: the application, with the settings that the service was deployed with."""
    return create_app(Settings.from_environment())


def application(arguments: dict[str, Any]) -> Any:
    """The `ray.serve.Application` that Serve builds on its cluster. arguments: needs_key, whether requests
    have to send an API key."""
    from ray import serve

    deployment = serve.deployment(
        serve.ingress(build)(Replica),
        name="Replica",
        # As many as `python -m service` takes connections, so that a replica itself rejects those for which
        # its queue has no place. Serve rejects when all replicas have so many, and so many wait.
        max_ongoing_requests=MAX_CONNECTIONS,
        max_queued_requests=MAX_CONNECTIONS,
        backpressure_config={"retry_after_s": RETRY_AFTER},
        health_check_period_s=5,
        max_constructor_retry_count=3,
    )
    return deployment.bind(arguments["needs_key"])
