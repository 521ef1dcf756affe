"""Writes the outputs in docs/walkthrough.md anew: runs its commands in a demo of its own.

    python -m scripts.walkthrough

The demo is made in build/walkthrough. Every command of the page is run there, and the output of those that it
quotes replaces the block of text after them. A command that prints nothing of what is quoted is an error, so
that no lesson shows a change that is none. It takes about as long as `make demo` twice.
"""

import contextlib
import io
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from cxr.core.errors import UserError, run
from cxr.core.files import atomic
from scripts import demo, workspace

PAGE, FOLDER = Path("docs/walkthrough.md"), Path("build/walkthrough")
COMMANDS = re.compile(r"```sh\n(.*?)```\n", re.DOTALL)
WIDTH = 118  # characters of a line of flags

Lines = Sequence[str]


def starting_with(*starts: str) -> Callable[[Lines], Lines]:
    """The lines that start with one of `starts`."""
    return lambda lines: [line for line in lines if line.startswith(starts)]


def rows_of(*metrics: str) -> Callable[[Lines], Lines]:
    """Of a table of `dvc metrics diff` its head and the rows of the ensemble's `metrics` on test.

    DVC makes its columns as wide as their widest cell, which may be in a row that is not shown.
    """
    row = re.compile(rf"metrics/test\.json +({'|'.join(metrics)})\.ensemble ")

    def chosen(lines: Lines) -> Lines:
        rows = [line for line in lines if row.match(line)]
        if not rows:
            return []
        head = next(line for line in lines if line.startswith("Path"))
        cells = [re.split(r" {2,}", line.strip()) for line in (head, *rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]

    return chosen


def first_table(rows: int) -> Callable[[Lines], Lines]:
    """The lines before the first table, and its head with `rows` rows."""

    def chosen(lines: Lines) -> Lines:
        start = next((i for i, line in enumerate(lines) if line.startswith("|")), 0)
        return [*lines[: start + 2 + rows], "..."] if start else []

    return chosen


def flags(lines: Lines) -> Lines:
    """The first flags of `dvc exp run`, in two lines."""
    text, shown = " ".join(lines), []
    for _ in range(2):
        cut = text.rfind(" -S ", 0, WIDTH)
        shown.append(text[:cut])
        text = text[cut + 1 :]
    return [*shown[:-1], f"{shown[-1]} ..."] if text.startswith("-S ") else []


# What is shown of the output of each command that the page quotes.
QUOTES: Mapping[str, Callable[[Lines], Lines]] = {
    "make demo": starting_with("metric ", "auc ", "accuracy", "sensitivity", "specificity", "majority"),
    "dvc metrics diff main threshold": rows_of("accuracy", "sensitivity", "specificity"),
    "cxr leaderboard": lambda lines: lines,
    "cxr compare main": first_table(3),
    "cxr recipe small_cnn": flags,
    "cxr predict chest.png": lambda lines: lines,
}


def main() -> None:
    """Raises `UserError` if a command fails or prints nothing of what is quoted."""
    setup, *rest = (block.splitlines() for block in COMMANDS.findall(PAGE.read_text(encoding="utf-8")))
    if demo.work_in(FOLDER):
        raise UserError(f"{FOLDER}: holds an earlier walk-through; delete it, then run again")
    demo.main(FOLDER)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        demo.print_results(FOLDER)
    outputs = {"make demo": printed.getvalue()} | {
        command: output(command, FOLDER) for block in rest for command in block
    }
    assert "make demo" in setup
    text = with_outputs(PAGE.read_text(encoding="utf-8"), outputs)
    with atomic(PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    print(f"{PAGE}: {len(QUOTES)} outputs of {FOLDER}")


def output(command: str, folder: Path) -> str:
    """What `command` prints in `folder`, both streams. Raises `UserError` if it fails."""
    print(f"$ {command}", flush=True)
    name = {"GIT_AUTHOR_NAME": "newcomer", "GIT_AUTHOR_EMAIL": "newcomer@localhost"}
    name |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in name.items()}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=workspace.environment() | name,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise UserError(f"`{command}` failed in {folder}: {(done.stdout.splitlines() or ['no output'])[-1]}")
    return done.stdout


def _with_content(content: str, block: re.Match[str]) -> str:
    return f"{block[1]}{content}\n```"


def with_outputs(text: str, outputs: Mapping[str, str]) -> str:
    """The page `text` with the quoted part of each output of a command, by command, in the block after it."""
    for command, quoted in QUOTES.items():
        lines = [line.rstrip() for line in quoted(outputs[command].splitlines()) if line.strip()]
        if not lines:
            raise UserError(f"`{command}` prints nothing of what {PAGE} quotes; choose another lesson")
        # The commands up to the quoted one, and the prose between, stay; no other block may stand between.
        block = re.compile(rf"({re.escape(command)}\n(?:(?!```text).)*?```text\n).*?```", re.DOTALL)
        # A function, since output may hold a backslash.
        text, found = block.subn(partial(_with_content, "\n".join(lines)), text, count=1)
        if not found:
            raise UserError(f"{PAGE}: no ```text block after `{command}`; restore it from Git")
    return text


if __name__ == "__main__":
    run(main)
