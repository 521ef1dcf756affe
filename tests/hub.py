"""The part of the Hugging Face hub's HTTP interface that a download and an upload need, on this machine.

Uploads come as the clients without the package hf_xet send them: small text in the commit, the rest by the
protocol of Git LFS.
"""

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """repository: the only one. files: its content by name, at COMMIT. requests: the paths requested so far.
    token: who may write; None: nobody. uploaded: content by SHA-256, of files that no commit names yet."""

    repository = "acme/tiny"
    files: dict[str, bytes]
    requests: list[str]
    token: str | None = None
    uploaded: dict[str, bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubAnswer(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path, files, name = self._path(), self.server.files, self.server.repository
        if path.startswith(f"/api/models/{name}/tree/{COMMIT}"):
            self._json([{"type": "file", "path": k, "size": len(v), "oid": tag(v)} for k, v in files.items()])
        elif path.startswith(f"/api/models/{name}"):
            siblings = [{"rfilename": each} for each in files]
            self._json({"id": name, "sha": COMMIT, "siblings": siblings})
        elif path.startswith(f"/{name}/resolve/{COMMIT}/"):
            self._answer(files[path.partition(f"/{COMMIT}/")[2]])
        else:
            self._answer(b"", 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        path, body = self._path(), self._body()
        if self.server.token is None or self.headers["Authorization"] != f"Bearer {self.server.token}":
            return self._answer(b'{"error": "Invalid username or password."}', 401)
        match path.removeprefix(f"/api/models/{self.server.repository}"):
            case "/api/repos/create":
                self.server.repository = "/".join(json.loads(body)[key] for key in ("organization", "name"))
                self._json({"url": f"{self.server.url}/{self.server.repository}"})
            case "/api/validate-yaml":
                self._json({"errors": [], "warnings": []})
            case "/preupload/main":
                files = [{"path": each["path"], **_mode(each["path"])} for each in json.loads(body)["files"]]
                self._json({"files": files})
            case "/commit/main":
                self._commit([json.loads(line) for line in body.splitlines()])
            case _ if path == f"/{self.server.repository}.git/info/lfs/objects/batch":
                objects = [
                    each | {"actions": {"upload": {"href": f"{self.server.url}/lfs/{each['oid']}"}}}
                    for each in json.loads(body)["objects"]
                ]
                self._json({"transfer": "basic", "objects": objects})
            case _:
                self._answer(b"", 404)

    def do_PUT(self) -> None:
        """As the storage behind the hub: whoever has the address may write, if the content has its hash."""
        body, oid = self._body(), self._path().removeprefix("/lfs/")
        if hashlib.sha256(body).hexdigest() != oid:
            return self._answer(b"", 422)
        self.server.uploaded[oid] = body
        self._answer(b"")

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.server.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.server.files[value["path"]] = self.server.uploaded.pop(value["oid"])
        url = f"{self.server.url}/{self.server.repository}/commit/{COMMIT}"
        self._json({"success": True, "commitOid": COMMIT, "commitUrl": url})

    def _path(self) -> str:
        path = self.path.split("?")[0]
        self.server.requests.append(path)
        return path

    def _body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _json(self, content: Any) -> None:
        self._answer(json.dumps(content).encode())

    def _answer(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{tag(body)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def tag(body: bytes) -> str:
    return hashlib.sha1(body).hexdigest()


def _mode(path: str) -> dict[str, Any]:
    text = PurePosixPath(path).suffix in (".md", ".json", ".csv")
    return {"uploadMode": "regular" if text else "lfs", "shouldIgnore": False}


@contextmanager
def serving_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub, to which huggingface_hub turns."""
    server = Hub(("127.0.0.1", 0), HubAnswer)
    server.files, server.requests, server.uploaded = {}, [], {}
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
