"""What lives as long as the application: the model served, the places for requests, counters."""

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

KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="where the service was started with one")

log = logging.getLogger("service")


class State:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.work = Work(settings.queue, settings.timeout)
        self.metrics = Metrics()
        self.metrics.places.set_function(lambda: self.work.inside)
        self.revision = "unknown"
        self._served: Served | str = "the service has not started"  # replaced as a whole

    def start(self) -> None:
        self.revision = revision(self.settings)
        self.reload()

    def stop(self) -> None:
        self.work.close()
        log.info("stopped")

    def reload(self) -> None:
        """Serve what the model file holds now; if that is no model, what was served before stays."""
        try:
            served = load_served(self.settings)
        except UserError as error:
            log.error("model refused", extra={"fields": {"reason": str(error)}})
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
        """A dependency of the endpoints that want the API key; it runs before a body is read."""
        wanted = self.settings.api_key
        if not wanted:

            async def anybody() -> None:
                """A dependency of its own, so that /docs asks for no key where none is wanted."""

            return anybody

        async def check(key: Annotated[str | None, Security(KEY)]) -> None:
            if not hmac.compare_digest((key or "").encode("latin-1"), wanted.encode()):
                detail = "Send the key of this service in the header X-API-Key."
                raise Problem(401, "api-key", detail, {"WWW-Authenticate": "ApiKey"})

        return check
