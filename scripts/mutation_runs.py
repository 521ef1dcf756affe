"""Tests in a fork of this process, which has imported the libraries already, on a copy of the repository."""

import atexit
import gc
import importlib
import json
import os
import signal
import sys
import time
import types
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.mutations import Mutation

# Imported once; importing PyTorch takes longer than most tests.
LIBRARIES = (
    "numpy", "torch", "torchvision.models", "timm", "captum.attr", "sklearn.metrics", "sklearn.cluster",
    "scipy.stats", "skimage.transform", "matplotlib.pyplot", "faiss", "onnx", "onnxscript", "onnxruntime",
    "pydantic", "pydicom", "PIL.Image", "ruamel.yaml", "jinja2", "tqdm", "safetensors.torch", "medmnist",
    "fastapi.testclient", "prometheus_client", "pytest", "hypothesis", "schemathesis.pytest.plugin", "hydra",
)  # fmt: skip
HERE = Path.cwd()  # the checkout, from which nothing is imported in a fork
# Imported anew in each fork, from the copy.
OURS = ("cxr", "stages", "service", "scripts", "tests", "benchmarks")
# What the code says that cannot run at all: no error of meaning.
BROKEN = ("NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError", "SyntaxError")


def preload() -> None:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # a pool of threads would not survive the fork
    for name in LIBRARIES:
        importlib.import_module(name)
    atexit.register(gc.unfreeze)
    gc.freeze()  # pytest collects garbage after every run, and would look through all of PyTorch


@dataclass(eq=False)  # pytest puts plugins into sets
class Verdict:
    """A pytest plugin. failed: the first test that failed; broken: because the code cannot run at all; text:
    one line of its error; ran: whether any test ran."""

    failed: str = ""
    broken: bool = False
    text: str = ""
    ran: bool = False

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._fail(report.nodeid, True, str(report.longrepr).strip().splitlines()[-1])

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.ran |= report.when == "call" and not report.skipped
        if report.failed:
            crash = getattr(getattr(report.longrepr, "reprcrash", None), "message", "") or "no message"
            self._fail(report.nodeid, crash.startswith(BROKEN), crash.splitlines()[0])

    def _fail(self, test: str, broken: bool, text: str) -> None:
        if not self.failed:
            self.failed, self.broken, self.text = test, broken, text


class Run:
    """The tests, with -x, in a process of their own; `copy` is as before when it has ended."""

    def __init__(self, copy: Path, tests: str, mutation: Mutation | None, limit: float) -> None:
        self.copy, self.tests, self.mutation, self.limit = copy.resolve(), tests, mutation, limit
        self.answer, self.log = self.copy.with_suffix(".json"), self.copy.with_suffix(".log")
        self.answer.unlink(missing_ok=True)
        if mutation:
            self.target = self.copy / mutation.file
            self.original = self.target.read_text(encoding="utf-8")
            self.stamp = self.target.stat().st_mtime
            self.target.write_text(mutation.applied(self.original), encoding="utf-8")
            os.utime(self.target, (self.stamp + 10, self.stamp + 10))  # cached bytecode is of another time
        self.started = time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            self._child()

    def ended(self) -> str | None:
        """noticed, unnoticed, timed out, or invalid (the code or the tests cannot run); None while they
        run."""
        pid, _ = os.waitpid(self.pid, os.WNOHANG)
        self.seconds = time.monotonic() - self.started
        late = not pid and self.seconds > self.limit
        if not pid and not late:
            return None
        if late:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.mutation:
            self.target.write_text(self.original, encoding="utf-8")
            os.utime(self.target, (self.stamp, self.stamp))
        self.verdict = Verdict()
        if late:
            return "timed out"
        if self.answer.is_file():
            self.verdict = Verdict(**json.loads(self.answer.read_text(encoding="utf-8")))
        elif log := self.log.read_text(encoding="utf-8", errors="replace").strip():
            self.verdict.text = log.splitlines()[-1]
        if self.verdict.broken or not (self.verdict.ran or self.verdict.failed):
            return "invalid"
        return "noticed" if self.verdict.failed else "unnoticed"

    def _child(self) -> None:
        try:
            os.setsid()  # what the tests start ends with them
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(self.copy)
            sys.path[:] = [str(self.copy), *(path for path in sys.path if path not in ("", str(HERE)))]
            os.environ["PYTHONPATH"] = str(self.copy)  # for the processes that tests start
            for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
                del sys.modules[name]
            sys.modules["__main__"] = types.ModuleType("__main__")  # worker processes import it
            if self.mutation:
                sys.dont_write_bytecode = True
                os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            import pytest

            verdict = Verdict()
            pytest.main(
                ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *self.tests.split()],
                plugins=[verdict],
            )
            self.answer.write_text(json.dumps(asdict(verdict)), encoding="utf-8")
        finally:  # an exception must not go on in this copy of the parent
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
