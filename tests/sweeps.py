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
import json, os, sys, time
from pathlib import Path
from cxr.params import load_params
params = load_params()
if params.train.lr > 1:
    sys.exit("error: the loss is no longer finite")
Path("models").mkdir(exist_ok=True)
if record := os.environ.get("CXR_TEST_RECORD"):
    with open(record, "a") as file:
        file.write("%s %s\\n" % (params.train.lr, os.getpid()))
for epoch in range(1, params.train.epochs + 1):
    time.sleep(float(os.environ.get("CXR_TEST_SECONDS", "0")))
    rows = ["0,%s,%s,0.5,%d" % (number, params.train.lr + params.seed, epoch == params.train.epochs)
            for number in range(1, epoch + 1)]
    Path("models/history.new").write_text("\\n".join(["member,epoch,val_nll,val_accuracy,released", *rows]))
    Path("models/history.new").replace("models/history.csv")
Path("metrics.json").write_text(json.dumps({"cpus": os.environ.get("PYTHON_CPU_COUNT")}))
"""


def write_repository(folder: Path) -> str:
    """One stage, train, that fails for train.lr above 1. Returns the commit HEAD.

    Its log loss on val is the sum of train.lr and seed. CXR_TEST_SECONDS: that an epoch takes.
    CXR_TEST_RECORD: a file to which each start of the stage adds the learning rate and its process.
    """
    write_params(folder, {"train.epochs": 3, "compute.workers": 1, "compute.device": "cpu"})
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
