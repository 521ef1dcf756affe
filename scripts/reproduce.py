"""`make reproduce`: run the pipeline twice from scratch, in a copy, and compare the outputs byte for byte."""

import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from scripts import workspace

COPY = Path("build/reproduce")


def main() -> None:
    workspace.copy_tracked(Path(), COPY)
    first, second = (hashes_of_a_run() for _ in range(2))
    different = sorted(path for path in first.keys() | second.keys() if first.get(path) != second.get(path))
    if different:
        sys.exit(f"error: two runs of the same inputs differ in {', '.join(different)}")
    print(f"two forced runs without the run cache: all {len(first)} outputs are equal byte for byte")
    committed = lock_hashes(Path("dvc.lock"))
    changed = sorted(path for path in first if committed.get(path) != first[path])
    listed = ", ".join(changed) or "none"
    print(f"outputs that differ from the committed dvc.lock (another CPU type?): {listed}")


def hashes_of_a_run() -> dict[str, str]:
    try:
        workspace.call(COPY, "dvc", "repro", "--force", "--no-run-cache")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: `{' '.join(error.cmd)}` failed in {COPY}; its error message is above")
    return lock_hashes(COPY / "dvc.lock")


def lock_hashes(lock: Path) -> dict[str, str]:
    """The md5 of every output that a dvc.lock records."""
    stages = YAML(typ="safe").load(lock)["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}


if __name__ == "__main__":
    main()
