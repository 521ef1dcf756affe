"""uvicorn's HTTP protocol with limits that it lacks: bytes of a head, time for it, connections."""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import MEDIA_TYPE, Problem

MAX_HEAD = 16 * 1024  # bytes of the request line and all headers; those of browsers stay below 8 KB
HEAD_SECONDS = 10.0  # from the connection, or the first byte of a further request, to the end of its head
LINGER_SECONDS = 5.0  # for the rest of a body that was answered before its end, so that the answer arrives
MAX_CONNECTIONS = 256
MAX_CLIENT_CONNECTIONS = 128  # a proxy is one client


class GuardedProtocol(HttpToolsProtocol):
    """One connection. A request beyond the limits is answered with a problem, and the connection closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head = 0  # bytes of the present request's line, headers and trailers
        self._framing = 0  # bytes received since the last head or body, such as an unfinished header
        self._deadline: asyncio.TimerHandle | None = None
        self._refusal: Problem | None = None
        address = (self.client or ("",))[0]
        clients = (other.client for other in self.connections if isinstance(other, HttpToolsProtocol))
        same = sum((client or ("",))[0] == address for client in clients)
        if len(self.connections) > MAX_CONNECTIONS or same > MAX_CLIENT_CONNECTIONS:
            self._refuse(Problem(503, "busy", "Too many connections.", {"Retry-After": "10"}))
        else:
            self._close_after(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._framing += len(data)
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._close_after(HEAD_SECONDS)
        super().data_received(data)
        if self._framing > MAX_HEAD and not self.transport.is_closing():
            self._refuse(too_large())

    def on_message_begin(self) -> None:
        self._head = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of a trailer, too."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._framing = 0
        self._cancel()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        # Chunks have lengths of their own, which weigh less than what is in them unless that is a few bytes.
        self._framing = max(0, self._framing - 2 * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._framing = 0
        super().on_message_complete()
        if self.cycle.response_complete:
            self._close_after(HEAD_SECONDS)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body and not self.transport.is_closing():
            self._close_after(LINGER_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what is no HTTP, or to an exception of the methods above."""
        self._refuse(self._refusal or Problem(400, "malformed-http", "This is not a valid HTTP request."))

    def _count(self, length: int) -> None:
        self._head += length
        if self._head > MAX_HEAD:
            self._refusal = too_large()
            raise ValueError("head")  # ends the parser, which calls send_400_response

    def _refuse(self, problem: Problem) -> None:
        cycle = self.cycle
        if not (cycle and cycle.response_started and (cycle.more_body or not cycle.response_complete)):
            body = json.dumps(problem.document()).encode()
            headers: dict[str, Any] = {
                "content-type": MEDIA_TYPE,
                "content-length": len(body),
                "x-content-type-options": "nosniff",
                "connection": "close",
                **problem.headers,
            }
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self.transport.write(STATUS_LINE[problem.status] + lines.encode() + b"\r\n" + body)
        self.transport.close()

    def _close_after(self, seconds: float) -> None:
        self._cancel()
        self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def too_large() -> Problem:
    return Problem(431, "head-too-large", f"The head of the request is larger than {MAX_HEAD:,} bytes.")
