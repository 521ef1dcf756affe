"""`python -m service [--host 127.0.0.1] [--port 8000]`: the service under uvicorn, with its limits.

The environment configures the rest: see `service.settings`.
"""

import argparse
import signal

from cxr.core.errors import run


def main() -> None:
    """Raises `UserError` if a setting is invalid."""
    parser = argparse.ArgumentParser(prog="python -m service", description="Serve the classifier over HTTP.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    arguments = parser.parse_args()
    # The model is about to be loaded; by default the signal would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    import uvicorn

    from service.app import create_app
    from service.protocol import GuardedProtocol
    from service.settings import Settings

    uvicorn.run(
        create_app(Settings.from_environment()),
        host=arguments.host,
        port=arguments.port,
        http=GuardedProtocol,
        ws="none",
        access_log=False,  # it has raw paths, which may name a patient; `service.telemetry` logs requests
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    run(main)
