"""`make fresh`: check that the committed results belong to the committed code, else name what is stale.

It needs neither the data nor the model: outputs that are not here are taken to be those that dvc.lock names.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from cxr.core.errors import UserError, run

UP_TO_DATE = "Data and pipelines are up to date."
ABSENT = ("deleted", "not in cache")  # what DVC says of files that are not in this clone


def main() -> None:
    """Raises `UserError` if something is stale."""
    done = subprocess.run(
        ["dvc", "repro", "--dry", "--allow-missing"], capture_output=True, text=True, check=False
    )
    if UP_TO_DATE in done.stdout.splitlines():
        print(UP_TO_DATE)
        return
    status = subprocess.run(["dvc", "status", "--json"], capture_output=True, text=True, check=False)
    if status.returncode:
        raise UserError(f"dvc status: {(status.stderr.strip() or 'failed').splitlines()[0]}")
    reasons = list(stale(json.loads(status.stdout)))
    print(*reasons, sep="\n")
    raise UserError(f"{len(reasons)} stages are stale; run `dvc repro` and commit what it writes")


def stale(status: Mapping[str, Any]) -> Iterator[str]:
    """A line for each stage with a change, from the object that `dvc status --json` prints."""
    for stage, entries in status.items():
        reasons = []
        for entry in entries:
            if isinstance(entry, str):  # "changed command" and the like
                reasons.append(entry)
                continue
            for kind, changes in entry.items():
                for path, change in changes.items():
                    if isinstance(change, dict):  # keys of a params file
                        reasons += [f"{key} in {path}" for key in change]
                    elif change not in ABSENT:
                        reasons.append(path if kind == "changed deps" else f"{path}, which it wrote")
        if reasons:
            yield f"{stage}: {', '.join(reasons)}"


if __name__ == "__main__":
    run(main)
