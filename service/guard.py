"""What every request passes before it is routed: its host has to be known, and a defect is a problem, too."""

import logging
import re
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Problem

log = logging.getLogger("service")


class Guard:
    """ASGI middleware. hosts: that the header Host may name, in lower case and without a port; `*` is any.
    A page of another name that resolves to this machine (DNS rebinding) could otherwise read the answers.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, head = False, scope["method"] == "HEAD"

        async def answer(message: Message) -> None:
            nonlocal started
            started = True
            await send({**message, "body": b""} if head and "body" in message else message)

        if not self._known(scope):
            detail = "Unknown host: the operator has to name it in CXR_ALLOWED_HOSTS."
            scope["state"]["problem"] = "unknown-host"
            await Problem(421, "unknown-host", detail).response()(scope, receive, send)
            return
        # A copy, since uvicorn reads the method again.
        inner = {**scope, "method": "GET"} if head else scope
        try:
            await self.app(inner, receive, answer)
        except Exception as error:
            if started:
                raise
            await _defect(error).response()(scope, receive, send)
        scope["route"] = inner.get("route")

    def _known(self, scope: Scope) -> bool:
        if "*" in self.hosts:
            return True
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        return re.sub(r":\d{1,5}$", "", host.decode("latin-1")).lower() in self.hosts


def _defect(error: Exception) -> Problem:
    # Its message may quote bytes of the image, so only the line of code is logged.
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    log.error("defect", extra={"fields": {"error": type(error).__name__, "where": where}})
    return Problem(500, "defect", "Internal error: a defect of the service. Its log names the line of code.")
