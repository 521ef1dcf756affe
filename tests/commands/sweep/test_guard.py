"""An experiment ends with the process that asked for it, with all that it started."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cxr.commands.sweep.guard import guarded


def test_the_command_decides_the_exit_code(tmp_path: Path) -> None:
    code = "import pathlib, sys; pathlib.Path('done').touch(); sys.exit(3)"
    done = subprocess.run(guarded(sys.executable, "-c", code), cwd=tmp_path)
    assert done.returncode == 3
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("killed", ["the parent", "what it started, as Ray does"])
def test_all_ends_with_a_killed_parent(killed: str) -> None:
    inner = "import os, time; print(os.getpid(), os.getppid(), flush=True); time.sleep(600)"
    shell = guarded("sh", "-c", f"{sys.executable} -c '{inner}' & wait")
    outer = f"import subprocess, time; subprocess.Popen({shell!r}, start_new_session=True); time.sleep(600)"
    parent = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    processes = [psutil.Process(int(number)) for number in parent.stdout.readline().split()]
    assert all(process.is_running() for process in processes)
    (first,) = psutil.Process(parent.pid).children()
    if killed != "the parent":
        first.kill()
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 300
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.1)
