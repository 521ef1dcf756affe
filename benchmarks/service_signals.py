"""Signals under load: a new model at SIGHUP without a failed request, and every request answered at SIGTERM.

    python -m benchmarks.service_signals IMAGE.jpeg [--clients 8] [--seconds 20]

Starts `python -m service` on the model in models/, and posts IMAGE to /predict from CLIENTS connections. Once
a second SIGHUP; then SIGTERM in the middle. Counts the answers by status, and the requests that were sent and
got none ("lost"). Exits with 1 if there is one, or a status other than 200.
"""

import argparse
import http.client
import signal
import threading
import time
from collections import Counter
from pathlib import Path

from cxr.core.errors import UserError, run
from scripts.running_service import Running, serving

BOUNDARY = "image"


def main() -> None:
    """Raises `UserError` if a request fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=20)
    arguments = parser.parse_args()
    content = arguments.image.read_bytes()
    with serving() as running:
        clients = [Client(running, content) for _ in range(arguments.clients)]
        for _ in range(arguments.seconds):
            time.sleep(1)
            running.process.send_signal(signal.SIGHUP)
        before = sum((client.answers for client in clients), Counter[str]())
        started = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        code = running.process.wait(30)
        seconds = time.monotonic() - started
        for client in clients:
            client.thread.join()
    print(f"{arguments.seconds} x SIGHUP with {arguments.clients} clients: {in_words(before)}")
    after = sum((client.answers for client in clients), Counter[str]()) - before
    print(f"SIGTERM: ended with {code} after {seconds:.1f} s; from then on {in_words(after)}")
    if set(before) != {"200"} or set(after) - {"200", "closed", "refused"}:
        raise UserError("a request failed")


def in_words(answers: "Counter[str]") -> str:
    return ", ".join(f"{count:,} x {answer}" for answer, count in sorted(answers.items())) or "no request"


class Client:
    """Posts one request after the other until the service refuses connections.

    answers: by status; "refused" if a connection was not taken; without an answer "closed" if the request was
    a later one of its connection, which a server may close while such a request is on its way (RFC 9112,
    9.3.1), else "lost".
    """

    def __init__(self, running: Running, content: bytes) -> None:
        self.answers: Counter[str] = Counter()
        self._address, self._process = running.address.removeprefix("http://"), running.process
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="image"\r\n\r\n'
        self._body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        self.thread = threading.Thread(target=self._post)
        self.thread.start()

    def _post(self) -> None:
        while True:
            connection = http.client.HTTPConnection(self._address, timeout=30)
            try:
                connection.connect()
            except OSError:
                self.answers["refused"] += 1
                return
            self._answered(connection)

    def _answered(self, connection: http.client.HTTPConnection) -> None:
        """Requests over one connection until it is closed."""
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        without = "lost"
        while True:
            try:
                connection.request("POST", "/predict", self._body, headers)
                answer = connection.getresponse()
                answer.read()
            except (http.client.RemoteDisconnected, ConnectionError):
                self.answers[without] += 1
                return
            self.answers[str(answer.status)] += 1
            without = "closed"
            if answer.will_close:
                return


if __name__ == "__main__":
    run(main)
