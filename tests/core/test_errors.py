"""Mistakes and interruptions end a program with one line."""

import subprocess
import sys

import pytest

from cxr.core.errors import UserError, run
from tests.builders import ROOT


@pytest.mark.parametrize(
    ("raised", "code", "line"), [(UserError("no"), 1, "error: no\n"), (KeyboardInterrupt(), 130, "stopped\n")]
)
def test_the_end_is_one_line_without_a_traceback(capsys, monkeypatch, raised, code, line):
    def main() -> None:
        raise raised

    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == code
    assert capsys.readouterr().err == line


def test_a_stage_that_is_stopped_says_how_to_go_on(capsys, monkeypatch):
    def main() -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("DVC_STAGE", "train")
    with pytest.raises(SystemExit):
        run(main)
    assert capsys.readouterr().err == "stopped; `dvc repro` goes on from here\n"


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "ZeroDivisionError"])
def test_a_stage_that_is_stopped_while_it_imports_prints_one_line(monkeypatch, raised):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    done = subprocess.run(
        [sys.executable, "-c", f"import stages; raise {raised}"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode
    stopped = raised == "KeyboardInterrupt"
    assert (done.stderr == "stopped\n", "Traceback" in done.stderr) == (stopped, not stopped)


def test_other_exceptions_are_not_hidden():
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)
