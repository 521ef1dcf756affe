"""A repository of one fast stage, for experiments of a sweep."""

import subprocess
import sys
from pathlib import Path

from scripts import workspace
from tests.builders import write_params

PIPELINE = """\
stages:
  train:
    cmd: python train.py
    deps: [train.py]
    params: [seed, train.lr]
    outs: [models/history.csv]
    metrics: [{metrics.json: {cache: false}}]
"""
STAGE = """\
import json, os, sys
from pathlib import Path
from cxr.params import load_params
params = load_params()
if params.train.lr > 1:
    sys.exit("error: the loss is no longer finite")
Path("models").mkdir(exist_ok=True)
Path("models/history.csv").write_text(
    "val_nll,val_accuracy,released\\n%s,0.5,1\\n" % (params.train.lr + params.seed))
Path("metrics.json").write_text(json.dumps({"cpus": os.environ.get("PYTHON_CPU_COUNT")}))
"""


def write_repository(folder: Path) -> str:
    """One stage, train, that fails for train.lr above 1. Returns the commit HEAD."""
    write_params(folder, {})
    for name, text in {"dvc.yaml": PIPELINE, "train.py": STAGE, ".gitignore": "/build/\n/logs/\n"}.items():
        (folder / name).write_text(text)
    workspace.call(folder, "git", "init", "--quiet")
    workspace.call(folder, sys.executable, "-m", "dvc", "init", "--quiet")
    workspace.commit(folder, "start")
    for key in ("user.name", "user.email"):
        workspace.call(folder, "git", "config", key, "test@localhost")
    return git(folder, "rev-parse", "HEAD")[0]


def git(folder: Path, *arguments: str) -> list[str]:
    """The lines that the command prints."""
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def experiments_in(folder: Path) -> dict[str, str]:
    """The references of DVC's experiments, by name."""
    references = git(folder, "for-each-ref", "--format=%(refname)", "refs/exps")
    return {name.rpartition("/")[2]: name for name in references if "/celery/" not in name}
