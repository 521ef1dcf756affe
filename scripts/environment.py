"""Write environment.txt: the pinned versions of the packages that can change what the pipeline computes.

It is a dep of the stages whose bytes depend on them, so that an upgrade of PyTorch does not leave old results
"up to date". uv.lock is no dep: a new linter or web framework must not retrain.
"""

import subprocess
from pathlib import Path

PATH = Path("environment.txt")
# Packages, with what they alone bring along, that compute nothing in the stages that depend on this file.
LEFT_OUT = (
    "dvc",
    "faiss-cpu",
    "jinja2",
    "kagglehub",
    "matplotlib",
    "medmnist",
    "pydantic",
    "pydicom",
    "shtab",
)


def pinned() -> str:
    """One requirement a line, as uv.lock has them. Needs no network."""
    command = [
        "uv",
        "export",
        "--frozen",
        "--no-dev",
        "--extra",
        "train",
        "--no-hashes",
        "--no-header",
        "--no-annotate",
        "--quiet",
    ]
    command += ["--no-emit-project", *(part for name in LEFT_OUT for part in ("--prune", name))]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    PATH.write_text(pinned(), encoding="utf-8", newline="\n")
