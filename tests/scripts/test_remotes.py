"""Results are shared by S3, SSH, HTTP and a folder, and docs/sharing.md has what was typed and seen."""

import http.server
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scripts import remotes, storage_servers
from scripts.shell_session import UP_TO_DATE, Session, shortened
from scripts.storage_servers import HOST, Line
from tests.builders import ROOT, refused

NAMES = (*remotes.REMOTES, "registry")
STAGE = """\
stages:
  copy:
    cmd: mkdir -p data models && cp seed data/images.npy && cp seed models/classifier.onnx && wc seed >
      data/labels.csv
    deps: [seed]
    outs: [data/images.npy, data/labels.csv, models/classifier.onnx]
  reverse:
    cmd: rev data/images.npy > data/reversed && tail -c 300000 seed > data/tail
    deps: [data/images.npy, seed]
    outs: [data/reversed, data/tail]
"""
PAGE = (ROOT / remotes.PAGE).read_text(encoding="utf-8")


def block(name: str, page: str = PAGE) -> str:
    return page.partition(remotes.BEGIN.format(name=name))[2].partition(remotes.END.format(name=name))[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_a_transcript_without_traces_of_a_machine(name: str) -> None:
    text = block(name)
    assert text.startswith("```text\n")
    assert text.count("$ ") >= 5
    assert not re.search(r"/tmp|/work|/home/|127\.0\.0\.1|root|Traceback", text)
    ports = set(re.findall(r"localhost:(\d+)", text))
    assert ports <= {"9000", "2222", "8080"}


@pytest.mark.parametrize("name", remotes.REMOTES)
def test_the_page_shows_that_no_stage_has_to_run(name: str) -> None:
    lines = block(name).splitlines()
    for command in ("$ dvc repro --dry", "$ dvc repro"):
        start = lines.index(command)
        assert lines[start + 1 : start + 3] == ["...", UP_TO_DATE]
    assert any(line.startswith("ERROR: ") for line in lines)


def test_a_page_without_marks_is_an_error() -> None:
    begin, end = (mark.format(name="s3") for mark in (remotes.BEGIN, remotes.END))
    assert remotes.with_block(f"a\n{begin}old\n{end}z\n", "s3", "new\n") == f"a\n{begin}new\n{end}z\n"
    for page in (f"{begin}old\n", f"old\n{end}", ""):
        with refused("restore it from Git"):
            remotes.with_block(page, "s3", "new\n")


def test_of_lines_for_each_file_the_first_is_shown() -> None:
    lines = ["ERROR: failed to transfer 'a'", "ERROR: failed to transfer 'b'"]
    lines += [
        "ERROR: failed to transfer 'c'",
        "",
        "ERROR: failed to push",
        "A       data/a",
        "A       data/b",
    ]
    shown = ["ERROR: failed to transfer 'a'", "...", "ERROR: failed to push", "A       data/a", "..."]
    assert shortened("\n".join(lines)) == shown
    assert shortened(f"Stage 'a' didn't change, skipping\n{UP_TO_DATE}\n") == ["...", UP_TO_DATE]


def test_a_session_is_neutral_and_fails_where_it_should_not(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    (tmp_path / "home").mkdir()
    session = Session(tmp_path, {str(tmp_path): "~"})
    session.type("pwd; echo x > .abcdefgh12.tmp; ls -a | grep tmp; echo $HOME $AWS_PROFILE", "home")
    assert session.markdown().splitlines()[2:-1] == ["~/home", ".tmp", "~/home"]
    with refused("`exit 3` ended with 3"):
        session.type("exit 3", "home")
    with refused("`true` ended with 0"):
        session.type("true", "home", fails=True)
    with refused("Traceback"):
        session.type("echo Traceback; exit 1", "home", fails=True)


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a web server that answers with 100,000 bytes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 100_000)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as running:
        running.handle_error = lambda *_: None
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_port
        running.shutdown()


def test_a_line_is_cut_and_mended(server: int) -> None:
    line = Line(server)

    def received() -> int:
        with urllib.request.urlopen(f"http://{HOST}:{line.port}", timeout=10) as answer:
            return len(answer.read())

    line.connect()
    port = line.port
    assert received() == 100_000
    line.connect(cut_after=50_000)
    with pytest.raises((OSError, AssertionError)):
        assert received() == 100_000
    with pytest.raises(OSError, match=r"refused|reset|closed connection"):
        received()
    line.connect()
    assert (line.port, received()) == (port, 100_000)
    line.disconnect()


def test_half_a_file_on_the_remote_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "files/md5/90/0150983cd24fb0d6963f7d28e17f72"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"abc")
    path.with_name(".unfinished.tmp").write_bytes(b"a")
    remotes._check(tmp_path)
    path.write_bytes(b"ab")
    with refused("do not have the hash"):
        remotes._check(tmp_path)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of one second, with its results committed."""
    path = tmp_path_factory.mktemp("small")
    (path / "dvc.yaml").write_text(STAGE)
    (path / "seed").write_bytes(np.random.default_rng(0).integers(65, 90, 400_000, np.uint8).tobytes())
    name = ("-c", "user.name=me", "-c", "user.email=me@localhost")
    commands = [["git", "init", "--quiet", "--initial-branch", "main"], ["dvc", "init", "--quiet"]]
    commands += [
        ["dvc", "config", "core.analytics", "false"],
        ["dvc", "repro", "--quiet"],
        ["git", "add", "."],
    ]
    for command in [*commands, ["git", *name, "commit", "--quiet", "-m", "Results"]]:
        subprocess.run(command, cwd=path, check=True)
    return path


@pytest.mark.long  # a dozen commands of DVC each, and half a minute of retries with S3
@pytest.mark.parametrize("name", NAMES)
def test_results_are_shared(repository: Path, tmp_path: Path, name: str) -> None:
    if reason := storage_servers.missing().get(name):
        pytest.skip(f"needs {reason}")
    if name == "registry":
        text = remotes.registry(repository, tmp_path)
        assert (tmp_path / "study/images.npy").read_bytes() == (repository / "seed").read_bytes()
    else:
        text = remotes.transcript(name, repository, tmp_path)
        assert (tmp_path / "theirs/data/tail").read_bytes() == (repository / "seed").read_bytes()[-300_000:]
    assert not re.search(rf"{tmp_path}|127\.0\.0\.1|Traceback", text)
    # What is typed is what the page shows, but for the sizes.
    commands = [re.sub(r"\d+ MB|-f \d+", "", line) for line in text.splitlines() if line.startswith("$")]
    shown = [re.sub(r"\d+ MB|-f \d+", "", line) for line in block(name).splitlines() if line.startswith("$")]
    assert commands == shown
