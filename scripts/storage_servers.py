"""Servers of DVC remotes on the loopback interface, for scripts/remotes.py: S3, SSH, HTTP, and a line to cut.

None reads or changes the machine's own settings; keys and logs are in the folder that the caller names.
"""

import base64
import functools
import getpass
import hmac
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxr.core.errors import UserError

HOST = "127.0.0.1"
TIMEOUT = 60.0  # seconds until a server has to answer
PIECE = 65536  # bytes
SSHD = "/usr/sbin/sshd"
SFTP_ONLY = """\
ListenAddress {host}
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
ForceCommand internal-sftp
"""


@dataclass
class Line:
    """A TCP relay to `target`, a port of this machine, that can be cut like a network cable.

    port: where clients connect. left: bytes that still pass, in both directions together; None: any number.
    """

    target: int
    port: int = 0
    left: int | None = None
    _listener: socket.socket | None = None
    _open: list[socket.socket] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def connect(self, cut_after: int | None = None) -> None:
        """Accept connections, until `cut_after` bytes have passed."""
        self.disconnect()
        self.left = cut_after
        self._listener = socket.create_server((HOST, self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def disconnect(self) -> None:
        """End all connections, and refuse new ones."""
        with self._lock:
            sockets, self._open = self._open, []
            if self._listener:
                sockets.append(self._listener)
            self._listener = None
        for each in sockets:
            with suppress(OSError):  # the other side may have closed it already
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # disconnected
            while True:
                client = listener.accept()[0]
                server = socket.create_connection((HOST, self.target))
                with self._lock:
                    self._open += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._relay, args=ends, daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # disconnected, or closed by one side
            while piece := source.recv(PIECE):
                if self.left is not None:
                    self.left -= len(piece)
                    if self.left < 0:
                        self.disconnect()
                        return
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def s3(folder: Path, bucket: str) -> Iterator[tuple[int, dict[str, str]]]:
    """moto's S3 server with an empty bucket. Yields its port, and the only key that may use it.

    moto keeps objects in memory, checks signatures, and stands in for the interface of S3, not for its scale.
    """
    import boto3

    port = free_port()
    # The actions below, up to the first key, need none.
    variables = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "4", "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    with _running(command, folder / "s3.log", port, variables):
        access = {"endpoint_url": f"http://{HOST}:{port}", "region_name": "us-east-1"}
        nobody = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nobody"}
        boto3.client("s3", **access, **nobody).create_bucket(Bucket=bucket)
        iam = boto3.client("iam", **access, **nobody)
        iam.create_user(UserName="dvc")
        rights = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
        iam.put_user_policy(UserName="dvc", PolicyName="storage", PolicyDocument=rights)
        key = iam.create_access_key(UserName="dvc")["AccessKey"]
        yield port, {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}


@contextmanager
def ssh(folder: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """OpenSSH's server with a key of its own, for SFTP alone. Yields its port, and user and private key.

    A second key, `stranger_key`, is in `folder` too: the server does not know it.
    """
    port = free_port()
    for name in ("host_key", "user_key", "stranger_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True)
    settings = folder / "sshd_config"
    settings.write_text(SFTP_ONLY.format(host=HOST, port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd, run by root, confines itself
    with _running([SSHD, "-D", "-e", "-f", str(settings)], folder / "sshd.log", port):
        yield port, {"user": getpass.getuser(), "keyfile": str(folder / "user_key")}


@contextmanager
def web(root: Path, user: str, password: str) -> Iterator[int]:
    """A web server of the files in `root`, read-only, for one user (basic authentication): its port."""
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            if hmac.compare_digest(self.headers.get("Authorization", ""), expected):
                return True
            self.send_error(401)
            return False

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer((HOST, 0), functools.partial(Handler, directory=str(root)))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that was cut off
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def missing() -> dict[str, str]:
    """What is not installed, by remote, with how to install it."""
    found = {}
    for module, package in (("dvc_s3", "dvc-s3"), ("moto", "moto[s3]"), ("flask_cors", "flask-cors")):
        if not _importable(module):
            found["s3"] = f"{package}: uv sync"
    if not _importable("dvc_ssh"):
        found["ssh"] = "dvc-ssh: uv sync"
    elif not (shutil.which(SSHD) and shutil.which("ssh-keygen")):
        found["ssh"] = f"{SSHD}: apt-get install openssh-server"
    return found


def _importable(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return free.getsockname()[1]


@contextmanager
def _running(
    command: list[str], log: Path, port: int, variables: dict[str, str] | None = None
) -> Iterator[None]:
    """The server `command` in another process, from when its port answers. Raises `UserError` if it ends."""
    deadline = time.monotonic() + TIMEOUT
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=variables, stdout=output, stderr=output) as process,
    ):
        try:
            while True:
                with suppress(OSError), socket.create_connection((HOST, port), timeout=5):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    last = (log.read_text(errors="replace").splitlines() or ["no message"])[-1]
                    raise UserError(f"{command[0]} does not answer on port {port}: {last}")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
