"""JSON log lines and Prometheus metrics, without image content, file names or raw paths."""

import json
import logging
import sys
import time
import uuid
import warnings
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)

log = logging.getLogger("service")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps(line | getattr(record, "fields", {}))


def configure_logs() -> None:
    if not log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonLines())
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    # These would quote the request.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    logging.getLogger("uvicorn.error").addFilter(_no_traceback)


def _no_traceback(record: logging.LogRecord) -> bool:
    """False for the traceback of a request: it may quote image content; `service.errors` logs its line."""
    return not record.getMessage().startswith("Exception in ASGI application")


class Metrics:
    """One registry for each application, so that a process can have several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("path", "method", "status")
        self.requests = Counter("cxr_requests", "Requests answered", labels, registry=self.registry)
        self.seconds = Histogram(
            "cxr_request_seconds", "Time to the answer", ("path",), buckets=SECONDS, registry=self.registry
        )
        self.in_flight = Gauge(
            "cxr_requests_in_flight", "Requests uploading, queued or running", registry=self.registry
        )
        self.admitted = Gauge(
            "cxr_requests_admitted", "Requests queued for a thread or running in one", registry=self.registry
        )
        self.capacity = Gauge("cxr_requests_capacity", "The most of these", registry=self.registry)
        self.steps = Histogram(
            "cxr_step_seconds",
            "Time of a radiograph's step",
            ("step",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.radiographs = Counter(
            "cxr_radiographs",
            "Radiographs answered, by decision and by whether they are unlike the training images",
            ("decision", "unlike"),
            registry=self.registry,
        )
        self.loaded = Gauge("cxr_model_loaded", "1 if a model is loaded", registry=self.registry)

    def timed(self, step: str) -> AbstractContextManager[None]:
        """step: decode or network."""
        return self.steps.labels(step).time()

    def count(self, decision: str, unlike: bool) -> None:
        self.radiographs.labels(decision, str(unlike).lower()).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)


class Telemetry:
    """ASGI middleware: counts, times and logs each request, and adds the headers that all responses have."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, seen = time.perf_counter(), {"status": 500, "bytes": 0}
        request_id = uuid.uuid4().hex

        async def counted() -> Message:
            message = await receive()
            seen["bytes"] += len(message.get("body", b""))
            return message

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            await self.app(scope, counted, answer)
        finally:
            seconds = time.perf_counter() - start
            # The route's own path, since that of a request may be anything.
            path = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if path != "other" else "other"
            self.metrics.requests.labels(path, method, seen["status"]).inc()
            self.metrics.seconds.labels(path).observe(seconds)
            fields = {"request": request_id, "method": method, "path": path, **seen}
            problem = scope.get("state", {}).get("problem")
            fields |= {"milliseconds": round(1000 * seconds, 1)} | ({"problem": problem} if problem else {})
            log.info("request", extra={"fields": fields})
