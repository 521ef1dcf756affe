"""State of the application: the model served, the pool of workers, the metrics."""

import contextlib
import hmac
import logging
import os
import threading
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
from service.uploads import Uploads

KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="required where CXR_API_KEY is set")

log = logging.getLogger("service")


class State:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.work = Work(settings.queue, settings.timeout)
        self.uploads = Uploads(settings.max_bytes, settings.timeout)
        self.metrics = Metrics()
        self.metrics.in_flight.set_function(lambda: self.uploads.uploading + self.work.in_flight)
        self.metrics.admitted.set_function(lambda: self.work.in_flight)
        self.metrics.capacity.set(self.work.capacity)
        self.revision = "unknown"
        self._served: Served | str = "the service has not started"  # replaced as a whole, never changed
        self._loading, self._asked = threading.Lock(), False

    def start(self) -> None:
        self.revision = revision(self.settings)
        self.reload()

    def stop(self) -> None:
        self.work.close()
        log.info("stopped")

    def reload(self) -> None:
        """Load the model file anew; if it is not valid, the model loaded before stays in service. Of several
        calls during one load all but one return without a load of their own."""
        self._asked = True
        with self._loading:
            if self._asked:
                self._asked = False
                with contextlib.suppress(UserError):  # logged
                    self._load(None)

    def load(self, sha256: str) -> None:
        """Load the model file anew. Raises `UserError` if it is not valid, or not the one with this hash; the
        model loaded before then stays in service."""
        with self._loading:
            self._load(sha256)

    def _load(self, sha256: str | None) -> None:
        try:
            served = load_served(self.settings)
            if sha256 not in (None, served.model.sha256):
                raise UserError(
                    f"{self.settings.model}: its SHA-256 is {served.model.sha256}, not {sha256} as when the "
                    "service was deployed; deploy it again"
                )
        except UserError as error:
            log.error("model not loaded", extra={"fields": {"reason": str(error)}})
            if isinstance(self._served, str):
                # Without the folder, which is nobody's business who may only ask for /health.
                self._served = str(error).replace(f"{self.settings.model}:", f"{self.settings.model.name}:")
            raise
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
        expected = os.fsencode(self.settings.api_key or "")
        if not expected:

            async def anybody() -> None:
                """Without a security scheme, so that /docs asks for no key where none is required."""

            return anybody

        async def check(key: Annotated[str | None, Security(KEY)]) -> None:
            if not hmac.compare_digest((key or "").encode("latin-1"), expected):
                detail = "API key required: send it in the header X-API-Key."
                raise Problem(401, "api-key", detail, {"WWW-Authenticate": "ApiKey"})

        return check
