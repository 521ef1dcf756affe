"""State of the application: the model served, the pool of workers, the metrics."""

import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Security
from fastapi.security import APIKeyHeader

from cxr.core.errors import UserError
from service.errors import Problem
from service.pool import Work
from service.served import Served, load_served, revision
from service.settings import Settings
from service.telemetry import Metrics

KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="required where CXR_API_KEY is set")

log = logging.getLogger("service")


class State:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.work = Work(settings.queue, settings.timeout)
        self.metrics = Metrics()
        self.metrics.in_flight.set_function(lambda: self.work.in_flight)
        self.revision = "unknown"
        self._served: Served | str = "the service has not started"  # replaced as a whole, never changed

    def start(self) -> None:
        self.revision = revision(self.settings)
        self.reload()

    def stop(self) -> None:
        self.work.close()
        log.info("stopped")

    def reload(self) -> None:
        """Load the model file anew; if it is not valid, the model loaded before stays in service."""
        try:
            served = load_served(self.settings)
        except UserError as error:
            log.error("model not loaded", extra={"fields": {"reason": str(error)}})
            if isinstance(self._served, str):
                self._served = str(error)
            return
        self._served = served
        self.metrics.loaded.set(1)
        log.info("model loaded", extra={"fields": {"sha256": served.model.sha256}})

    def loaded(self) -> Served:
        """Raises `Problem` 503 if there is no model."""
        if isinstance(self._served, str):
            raise Problem(503, "no-model", self._served)
        return self._served

    def authorised(self) -> Callable[..., Awaitable[None]]:
        """A dependency of the endpoints that require the API key; it runs before a body is read."""
        expected = self.settings.api_key
        if not expected:

            async def anybody() -> None:
                """Without a security scheme, so that /docs asks for no key where none is required."""

            return anybody

        async def check(key: Annotated[str | None, Security(KEY)]) -> None:
            if not hmac.compare_digest((key or "").encode("latin-1"), expected.encode()):
                detail = "API key required: send it in the header X-API-Key."
                raise Problem(401, "api-key", detail, {"WWW-Authenticate": "ApiKey"})

        return check
