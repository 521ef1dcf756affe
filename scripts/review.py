"""`make review`: checks and comparison of a pull request, as Markdown; .github/workflows/review.yml runs it.

    python -m scripts.review [BASE] [--steps NAME...]

Runs the checks on the working tree, then compares the results committed at BASE and HEAD. All steps run, also
after one that failed; the exit code is 1 if one did. The summary goes to build/review/summary.md and, inside
a GitHub workflow, to the run's page.
"""

import argparse
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cxr.commands.compare import runs
from cxr.core import dataset, errors

FOLDER = Path("build/review")
STEPS = {
    "lint": "make lint",
    "test": "make test",
    "fresh": "make fresh",
    "test-long": "make test-long",
    "demo": f"make demo DEMO={FOLDER}/demo",
    "compare": f"cxr compare {{base}} HEAD --json {FOLDER}/compare.json",
    "images": "dvc repro split",
    "sheet": f"cxr compare {{base}} HEAD --sheet {FOLDER / 'flips.png'}",
    "params": "dvc params diff {base} HEAD --md",
    "metrics": "dvc metrics diff {base} HEAD --md",
}
REPORTS = ("compare", "params", "metrics")  # they print Markdown
SHEET = FOLDER / "flips.png"
SILENT = ("sheet",)  # what it prints is that of "compare" once more
OPTIONAL = ("images", "sheet")  # without the radiographs a review has no figures, and is still complete
TAIL = 40  # lines of a failed step in the summary


@dataclass(frozen=True)
class Outcome:
    """lines: what the step printed, both streams."""

    name: str
    command: str
    code: int
    lines: list[str]

    @property
    def failed(self) -> bool:
        return self.code != 0 and self.name not in OPTIONAL

    @property
    def text(self) -> str:
        if not self.code:
            return "passed"
        return f"**failed** (exit code {self.code})" if self.failed else f"left out: {self.reason}"

    @property
    def reason(self) -> str:
        """The line of a `UserError`, or else the last one."""
        lines = [line.strip() for line in self.lines if line.strip()] or ["no reason given"]
        return next((line for line in lines if line.startswith("error: ")), lines[-1])


def main() -> None:
    """Raises `UserError` if BASE is no revision of this repository, or if a step's program is not there."""
    parser = argparse.ArgumentParser(
        prog="scripts.review", description="Checks and comparison of a pull request."
    )
    parser.add_argument("base", nargs="?", default="main", help="what HEAD is compared with; default: main")
    parser.add_argument(
        "--steps", nargs="+", choices=STEPS, default=list(STEPS), metavar="NAME", help=", ".join(STEPS)
    )
    arguments = parser.parse_args()
    commands = {name: STEPS[name] for name in STEPS if name in arguments.steps}
    if any("{base}" in command for command in commands.values()):
        runs.resolve(arguments.base)  # before the tests have run for minutes
    if FOLDER.exists():
        shutil.rmtree(FOLDER)  # figures of an earlier review must not remain
    FOLDER.mkdir(parents=True)
    outcomes = [
        run(name, command, arguments.base)
        for name, command in commands.items()
        if name != "images" or not dataset.IMAGES.is_file()
    ]
    publish(summary(outcomes))
    print(f"\n{FOLDER}/summary.md: these reports, and")
    print(*table(outcomes), sep="\n")
    if any(outcome.failed for outcome in outcomes):
        raise SystemExit(1)


def run(name: str, command: str, base: str) -> Outcome:
    """Run a step; what it prints is shown at once and kept."""
    words = [word.format(base=base) for word in command.split()]
    print(f"\n== {name}: {' '.join(words)}", flush=True)
    lines = []
    try:
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except FileNotFoundError:
        raise errors.UserError(
            f"{words[0]}: no such program; `source .venv/bin/activate`, or use `make review`"
        ) from None
    with process:
        assert process.stdout
        for line in process.stdout:
            if name not in SILENT:
                print(line, end="", flush=True)
            lines.append(line.rstrip())
    return Outcome(name, " ".join(words), process.returncode, lines)


def summary(outcomes: list[Outcome]) -> str:
    """Markdown: how each step ended, then the reports and the contact sheet, and the last lines of what
    failed."""
    parts = ["# Review", "", *table(outcomes)]
    for outcome in outcomes:
        if outcome.failed:
            parts += ["", f"## {outcome.name}: the last lines", "", "````", *outcome.lines[-TAIL:], "````"]
        elif outcome.name in REPORTS:
            parts += ["", f"## `{outcome.command}`", "", *outcome.lines]
        elif outcome.name == "sheet" and SHEET.is_file():
            parts += ["", "## Radiographs whose decision changed", "", f"![Contact sheet]({SHEET.name})"]
    return "\n".join([*parts, ""])


def table(outcomes: list[Outcome]) -> list[str]:
    """Lines of Markdown: how each step ended."""
    rows = [f"| {outcome.name} | `{outcome.command}` | {outcome.text} |" for outcome in outcomes]
    return ["| step | command | outcome |", "|---|---|---|", *rows]


def publish(text: str) -> None:
    (FOLDER / "summary.md").write_text(text, encoding="utf-8")
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(page).open("a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    errors.run(main)
