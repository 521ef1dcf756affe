"""Attacks on the running service's connections: what each costs it, and whether others are still answered.

    python -m benchmarks.service_attacks

Starts `python -m service` on the model in models/. For each attack prints the first line of the answer, the
growth of the service's memory, and the longest time that GET /health and a prediction of somebody else needed
meanwhile. Files that attack the reader are in `benchmarks.reading_cost`.
"""

import argparse
import io
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import httpx
from PIL import Image

from benchmarks.service_load import resident
from scripts.running_service import Running, serving

MB = 2**20
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    attacks: dict[str, Callable[[Running], str]] = {
        "an unfinished header of 32 MB": lambda service: sent(service, HEAD + b"X: ", bytes([97]) * MB, 32),
        "32 MB of headers": lambda service: sent(service, HEAD, b"a: b\r\n" * (MB // 6), 32),
        "32 MB of trailers": lambda service: sent(
            service, CHUNKED + b"1\r\nx\r\n0\r\n", b"a: b\r\n" * (MB // 6), 32
        ),
        "32 MB of chunk extensions": lambda service: sent(service, CHUNKED + b"1;", bytes([97]) * MB, 32),
        "32 MB in chunks of a byte": lambda service: sent(service, CHUNKED, b"1\r\nx\r\n" * (MB // 6), 32),
        "66 bodies of 1 byte/s": lambda service: slowly(service, 66),
        "300 connections without a head": lambda service: idle(service, 300),
    }
    for name, attack in attacks.items():
        with serving() as running:
            others = Others(running)
            before = resident(running.process.pid)
            start = time.monotonic()
            said = attack(running)
            seconds = time.monotonic() - start
            health, predict, refused = others.ended()
            grown = others.memory - before
            print(f"| {name} | {said} | {seconds:.1f} s | {grown:.0f} MB | {health:.1f} s", end="")
            print(f" | {predict:.1f} s, {refused} refused |", flush=True)


class Others:
    """Somebody else, from another address, who asks for /health and a prediction every 0.2 s. memory: the
    service's largest, in MB."""

    def __init__(self, running: Running) -> None:
        self.running, self.memory = running, resident(running.process.pid)
        self._times, self._refused, self._ended = ([0.0], [0.0]), 0, threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def ended(self) -> tuple[float, float, int]:
        """The longest seconds of /health and /predict, and how many of these were not answered by 200."""
        self._ended.set()
        self._thread.join()
        return max(self._times[0]), max(self._times[1]), self._refused

    def _ask(self) -> None:
        file = io.BytesIO()
        Image.linear_gradient("L").save(file, "PNG")
        image = file.getvalue()
        client = httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2"), timeout=60)
        while not self._ended.wait(0.2):
            for times, path in zip(self._times, ("/health", "/predict"), strict=True):
                start = time.monotonic()
                files = {"file": ("a", image)} if path == "/predict" else None
                try:
                    method = "POST" if files else "GET"
                    answer = client.request(method, self.running.address + path, files=files)
                    self._refused += answer.status_code != 200
                except httpx.HTTPError:
                    self._refused += 1
                times.append(time.monotonic() - start)
            self.memory = max(self.memory, resident(self.running.process.pid))


def connection(running: Running) -> socket.socket:
    host, port = running.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def answered(client: socket.socket, seconds: float) -> str:
    """The first line of the answer within these seconds."""
    client.settimeout(seconds)
    try:
        return client.recv(4096).partition(b"\r\n")[0].decode() or "closed"
    except TimeoutError:
        return "no answer"
    except OSError:
        return "reset"


def sent(running: Running, start: bytes, unit: bytes, count: int) -> str:
    """`start` and then `count` times `unit`."""
    with connection(running) as client:
        try:
            client.sendall(start)
            for _ in range(count):
                client.sendall(unit)
        except OSError:
            pass
        return answered(client, 3)


def slowly(running: Running, count: int) -> str:
    """A byte a second on `count` connections for 15 s."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connection(running)) for _ in range(count)]
        for client in clients:
            client.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + PART)
        for _ in range(15):
            time.sleep(1)
            for client in clients:
                with suppress(OSError):
                    client.sendall(b"x")
        return answered(clients[0], 0.1)


def idle(running: Running, count: int) -> str:
    """Open connections for 15 s."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connection(running)) for _ in range(count)]
        time.sleep(15)
        states = [answered(client, 0.01) for client in clients]
        return ", ".join(f"{states.count(state)} x {state}" for state in sorted(set(states)))


if __name__ == "__main__":
    main()
