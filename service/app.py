"""The application, configured by the environment (see `service.settings`); `python -m service` serves it."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator

from fastapi import FastAPI

from cxr.reports.disclaimer import NOTICE
from service import errors, guard, inference, info, telemetry
from service.settings import Settings
from service.state import State


def create_app(settings: Settings) -> FastAPI:
    """The model is read when the application starts, and again at each SIGHUP."""
    state = State(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        telemetry.configure_logs()
        state.start()
        # Python delivers signals to the main thread only.
        if in_main := threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, loop.run_in_executor, None, state.reload)
        yield
        if in_main:
            loop.remove_signal_handler(signal.SIGHUP)
        state.stop()

    app = FastAPI(
        title="Chest X-ray classifier",
        description=f"Calibrated class probabilities, similar cases and class activation maps. {NOTICE}",
        version="1",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from public servers; that of `service.info` does not
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat the host that the request states
    )
    app.state.service = state
    errors.add_handlers(app)
    app.add_middleware(guard.Guard, hosts=settings.hosts)
    app.add_middleware(telemetry.Telemetry, metrics=state.metrics)
    app.include_router(info.routes(state))
    app.include_router(inference.routes(state))
    return app
