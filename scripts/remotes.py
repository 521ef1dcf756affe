"""`make remotes`: pushes and pulls the results by each kind of remote; writes docs/sharing.md.

    python -m scripts.remotes

A clone of the last commit with results (`dvc.lock`) pushes its data to servers on the loopback interface
(scripts/storage_servers.py), another clone pulls them, with a wrong credential and a cut connection on the
way. An error of this script is a remote that does not do what the page says.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path

from cxr.core.errors import UserError, run
from cxr.core.files import atomic
from scripts import storage_servers
from scripts.shell_session import UP_TO_DATE, Session
from scripts.storage_servers import HOST, Line

PAGE = Path("docs/sharing.md")
BEGIN = "<!-- {name}: written by `make remotes` -->\n"
END = "<!-- end of {name} -->\n"


@dataclass(frozen=True)
class Remote:
    """A remote with the name that the commands use, storage.

    public: settings that Git may hold. private: those of each clone. wrong: private ones that the remote
    rejects, or others that cannot work. line: to the server. storage: the folder of its files; None for
    moto's memory.
    """

    url: str
    public: Mapping[str, str] = field(default_factory=dict)
    private: Mapping[str, str] = field(default_factory=dict)
    wrong: Mapping[str, str] = field(default_factory=dict)
    line: Line | None = None
    storage: Path | None = None
    read_only: bool = False


def main() -> None:
    """Raises `UserError` if a server is not installed, or a remote does something else than the page says."""
    if lacking := storage_servers.missing():
        raise UserError(f"needs {', '.join(lacking.values())}")
    text = PAGE.read_text(encoding="utf-8")
    for name in (*REMOTES, "registry"):
        print(f"{name} ...", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            shown = (
                registry(Path.cwd(), Path(folder))
                if name == "registry"
                else transcript(name, Path.cwd(), Path(folder))
            )
            text = with_block(text, name, shown)
    with atomic(PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def with_block(text: str, name: str, block: str) -> str:
    """The page `text` with `block` between the marks of `name`. Raises `UserError` if one is missing."""
    begin, end = BEGIN.format(name=name), END.format(name=name)
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise UserError(f"{PAGE}: the line {begin.strip()} or {end.strip()} is missing; restore it from Git")
    return f"{before}{begin}{block}{end}{after}"


def transcript(name: str, source: Path, folder: Path) -> str:
    """Markdown: how the results of the repository `source` are shared by the remote `name`, in `folder`.

    Raises `UserError` if a command ends otherwise than expected, or a stage would run.
    """
    objects = _clone(source, folder)
    size = sum(path.stat().st_size for path in objects)
    with REMOTES[name](folder) as (remote, neutral):
        session = Session(folder, {str(folder): "~", **neutral})
        if remote.read_only:
            _publish(session, remote)
        else:
            _push(session, remote, size)
        if remote.storage:
            _check(remote.storage)
        _pull(session, remote, size)
        return session.markdown()


def registry(source: Path, folder: Path) -> str:
    """Markdown: how another project uses data and model of the repository `source`, in `folder`.

    Raises `UserError` if a command fails.
    """
    _clone(source, folder)
    session = Session(folder, {str(folder): "~"})
    session.type(f"dvc remote add --quiet --default storage {folder}/storage && dvc push", "mine")
    session.type("git commit --quiet --all --message 'Remote storage'", "mine")
    session.lines = ["# another project"]
    session.type("git init --quiet study && cd study && dvc init --quiet", ".")
    for name in ("images.npy", "labels.csv"):
        session.type(f"dvc import {folder}/mine data/{name}", "study")
    session.type("git add . && git commit --quiet --message 'Images of the pipeline'", "study")
    session.type("dvc update images.npy.dvc", "study", remark="once there is a newer version")
    session.say("a file alone, without a repository")
    session.type(f"dvc get {folder}/mine models/classifier.onnx", "home")
    if (folder / "home/classifier.onnx").read_bytes() != (
        folder / "mine/models/classifier.onnx"
    ).read_bytes():
        raise UserError("`dvc get` wrote another file than the repository has")
    return session.markdown()


def _clone(source: Path, folder: Path) -> list[Path]:
    """Make the clone `mine` in `folder`, with a cache that holds the results of `source`: the paths of these.

    Raises `UserError` if some are not in the cache of `source`.
    """
    (folder / "home").mkdir()
    results = _git(source, "log", "-1", "--format=%H", "--", "dvc.lock")
    _git(folder, "clone", "--quiet", str(source), "mine")
    _git(folder / "mine", "switch", "--quiet", "--force-create", "main", results)
    done = subprocess.run(["dvc", "cache", "dir"], cwd=source, check=True, capture_output=True, text=True)
    cache = Path(source, done.stdout.strip()).resolve()
    hashes = set(re.findall(r"^ +md5: (\w{32})$", (folder / "mine/dvc.lock").read_text(), re.MULTILINE))
    objects = [path for each in hashes if (path := cache / "files/md5" / each[:2] / each[2:]).is_file()]
    for path in objects:
        copy = folder / "mine/.dvc/cache" / path.relative_to(cache)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    done = subprocess.run(["dvc", "checkout", "--quiet"], cwd=folder / "mine", capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{cache}: lacks results of {results[:7]}, the last commit of dvc.lock; `make repro`")
    return objects


def _publish(session: Session, remote: Remote) -> None:
    """Fill the folder that the read-only `remote` serves."""
    session.type(f"dvc remote add --default storage {remote.storage} && dvc push", "mine")
    session.lines.clear()  # is shown of the remote `folder`
    session.type(f"dvc remote add --force --default storage {remote.url}", "mine")
    session.type("git commit --quiet --all --message 'Remote storage'", "mine")


def _push(session: Session, remote: Remote, size: int) -> None:
    session.type(f"dvc remote add --default storage {remote.url}", "mine")
    _modify(session, "mine", remote.public)
    _modify(session, "mine", remote.private, local=True)
    session.type("git commit --quiet --all --message 'Remote storage'", "mine")
    if remote.line:
        remote.line.connect(cut_after=size // 2)
        session.type("dvc push", "mine", fails=True, remark=f"cut after {_megabytes(size // 2)}")
        remote.line.connect()
    else:
        limit = size // 8 // 1024
        session.type(f"(ulimit -f {limit}; dvc push)", "mine", fails=True, remark="no room for large files")
    session.type("dvc push", "mine")


def _pull(session: Session, remote: Remote, size: int) -> None:
    session.say("elsewhere")
    session.type("git clone --quiet mine theirs && cd theirs", ".")
    if remote.wrong:
        _modify(session, "theirs", {**remote.private, **remote.wrong}, local=True)
        session.type("dvc pull", "theirs", fails=True)
        right = {key: remote.private[key] for key in remote.wrong if key in remote.private}
        _modify(session, "theirs", right, local=True)
        for key in remote.wrong.keys() - right.keys():
            session.type(f"dvc remote modify --local --unset storage {key}", "theirs")
    else:
        _modify(session, "theirs", remote.private, local=True)
    if remote.line:
        remote.line.connect(cut_after=size // 2)
        session.type("dvc pull", "theirs", fails=True, remark=f"cut after {_megabytes(size // 2)}")
        remote.line.connect()
    session.type("dvc pull", "theirs")
    for command in ("dvc repro --dry", "dvc repro"):
        output = session.type(command, "theirs")
        if UP_TO_DATE not in output or "Running stage" in output:
            raise UserError(f"`{command}` would run a stage; commit the results first, by `make repro`")


def _modify(session: Session, place: str, settings: Mapping[str, str], local: bool = False) -> None:
    for key, value in settings.items():
        session.type(f"dvc remote modify {'--local ' * local}storage {key} {value}", place)


@contextmanager
def _s3(folder: Path) -> Iterator[tuple[Remote, dict[str, str]]]:
    with ExitStack() as stack:
        port, key = stack.enter_context(storage_servers.s3(folder, "cxr"))
        line = _line(stack, port)
        endpoint = {"endpointurl": f"http://{HOST}:{line.port}", "region": "us-east-1"}
        wrong = {"secret_access_key": "mistyped"}
        shown = {f"{HOST}:{line.port}": "localhost:9000"} | {
            value: f"<{name}>" for name, value in key.items()
        }
        yield Remote("s3://cxr/storage", endpoint, key, wrong, line), shown


@contextmanager
def _ssh(folder: Path) -> Iterator[tuple[Remote, dict[str, str]]]:
    with ExitStack() as stack:
        port, key = stack.enter_context(storage_servers.ssh(folder))
        line = _line(stack, port)
        storage = folder / "storage"
        wrong = {"keyfile": str(folder / "stranger_key")}
        shown = {f"{HOST}:{line.port}": "localhost:2222", f"user {key['user']}\n": "user me\n"}
        shown |= {
            f"{HOST}, port {line.port}": "localhost, port 2222",
            HOST: "localhost",
            str(line.port): "2222",
        }
        shown |= {
            f"{key['user']}@": "me@",
            "2222~/storage": "2222/srv/storage",
            "~/user_key": "~/.ssh/id_ed25519",
            "~/stranger_key": "~/.ssh/id_other",
        }
        shown |= {f"for user {key['user']} on": "for user me on"}
        yield Remote(f"ssh://{HOST}:{line.port}{storage}", {}, key, wrong, line, storage), shown


@contextmanager
def _http(folder: Path) -> Iterator[tuple[Remote, dict[str, str]]]:
    storage = folder / "storage"
    private = {"auth": "basic", "user": "me", "password": "right"}
    with ExitStack() as stack:
        line = _line(stack, stack.enter_context(storage_servers.web(storage, "me", "right")))
        url = f"http://{HOST}:{line.port}"
        remote = Remote(url, {}, private, {"password": "mistyped"}, line, storage, read_only=True)
        yield remote, {f"{HOST}:{line.port}": "localhost:8080", HOST: "localhost", str(line.port): "8080"}


@contextmanager
def _folder(folder: Path) -> Iterator[tuple[Remote, dict[str, str]]]:
    storage = folder / "storage"
    yield Remote(str(storage), wrong={"url": str(folder / "not_mounted")}, storage=storage), {}


REMOTES: Mapping[str, Callable[[Path], AbstractContextManager[tuple[Remote, dict[str, str]]]]] = {
    "s3": _s3,
    "ssh": _ssh,
    "http": _http,
    "folder": _folder,
}


def _line(stack: ExitStack, port: int) -> Line:
    line = Line(port)
    line.connect()
    stack.callback(line.disconnect)
    return line


def _check(storage: Path) -> None:
    """Raises `UserError` if a file in `storage` does not have the hash that is its name: half of one, say."""
    for path in (storage / "files/md5").rglob("*"):
        name = f"{path.parent.name}{path.name}"
        if path.suffix == ".tmp" or not path.is_file():
            continue
        if md5(path.read_bytes()).hexdigest() != name.removesuffix(".dir"):
            raise UserError(f"{path}: its contents do not have the hash that is its name")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _git(folder: Path, *command: str) -> str:
    done = subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    run(main)
