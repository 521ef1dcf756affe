"""What a person types and reads in a terminal, as a block of Markdown that does not depend on the machine."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cxr.core.errors import UserError

# A line that is printed for each file.
REPEATED = re.compile(
    r"(?P<failed>ERROR: failed to transfer|  Not enough data)|(?P<added>A {7})|(?P<missing>md5: )"
    r"|(?P<path>[\w/]+\.\w+$)"
)
TEMPORARY = re.compile(r"\.[\w-]{8,}\.tmp\b")  # names of files that are being written
UP_TO_DATE = "Data and pipelines are up to date."
TIMEOUT = 300  # seconds of one command


@dataclass
class Session:
    """What a person types and reads in `folder`, under which are all clones.

    neutral: what is shown in place of a path, port or key of this run.
    """

    folder: Path
    neutral: Mapping[str, str]
    lines: list[str] = field(default_factory=list)

    def type(self, command: str, place: str, fails: bool = False, remark: str = "") -> str:
        """Run `command` in the folder `place`; the output, both streams. Raises `UserError` if it ends
        otherwise than `fails` says, or with a traceback. remark: shown behind the command."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder / place,
            env=_environment(self.folder / "home"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
        )
        if bool(done.returncode) != fails or "Traceback" in done.stdout:
            last = (done.stdout.strip().splitlines() or ["no output"])[-1]
            raise UserError(f"`{command}` ended with {done.returncode} in {place}: {last}")
        self.lines.append(f"$ {command}    # {remark}" if remark else f"$ {command}")
        self.lines += shortened(done.stdout)
        return done.stdout

    def say(self, remark: str) -> None:
        self.lines += ["", f"# {remark}"]

    def markdown(self) -> str:
        """The lines so far as a block, with `neutral` words."""
        text = "\n".join(self.lines)
        for found, shown in self.neutral.items():
            text = text.replace(found, shown)
        return f"```text\n{TEMPORARY.sub('.tmp', text)}\n```\n"


def shortened(output: str) -> list[str]:
    """The lines of `output`: of those for one file each the first alone, of `dvc repro` the last."""
    lines = [line.rstrip() for line in output.splitlines()]
    if UP_TO_DATE in lines:
        return ["...", UP_TO_DATE]
    shown: list[str] = []
    before = None
    for line in filter(None, lines):
        found = REPEATED.match(line)
        kind = found and found.lastgroup
        if not kind or kind != before:
            shown.append(line)
        elif shown[-1] != "...":
            shown.append("...")
        before = kind
    return shown


def _environment(home: Path) -> dict[str, str]:
    """That of somebody without settings of Git, DVC, S3 and SSH, in the folder `home`."""
    variables = {
        key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "SSH_", "DVC_"))
    }
    variables |= {
        "HOME": str(home),
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for who in ("AUTHOR", "COMMITTER"):
        variables |= {f"GIT_{who}_NAME": "me", f"GIT_{who}_EMAIL": "me@localhost"}
    return variables
