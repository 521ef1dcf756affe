"""`make mutate`: put deliberate errors into the code, one at a time, and see whether its tests notice.

    python -m scripts.mutate [--room ROOM...] [--missing] [--jobs N]

Reads tests/mutations/<room>.yaml, works on copies of the tracked files in a temporary folder, and writes
docs/mutations/<room>.csv and docs/mutations.md. Exit code 1 if an error went unnoticed that the list does not
say so of, or if an entry does not run at all.
"""

import argparse
import tempfile
import time
from pathlib import Path

from cxr.core import errors
from scripts import mutations, workspace
from scripts.mutation_runs import Run, preload
from scripts.mutations import NOTICED, Mutation, Outcome

LIMIT = 60.0  # seconds, and five times what the tests take without an error


def main() -> None:
    """Raises `UserError` if tests fail without an error put in, or an entry fits no text."""
    parser = argparse.ArgumentParser(prog="scripts.mutate", description=str(__doc__).splitlines()[0])
    parser.add_argument("--room", nargs="+", choices=mutations.rooms(), default=mutations.rooms())
    parser.add_argument("--missing", action="store_true", help="only errors without a row, or unnoticed ones")
    parser.add_argument("--jobs", type=int, default=1, help="runs of tests side by side; default: 1")
    arguments = parser.parse_args()
    preload()
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        copies = [Path(folder, str(number)) for number in range(arguments.jobs)]
        for copy in copies:
            workspace.copy_tracked(Path(), copy)
        times: dict[str, float] = {}
        left = [
            mutation
            for room in arguments.room
            for mutation in run_room(room, copies, times, arguments.missing)
        ]
    mutations.save_page()
    print(f"{mutations.PAGE}: written; {len(left)} errors unnoticed without a reason, or invalid")
    for mutation in left:
        print(f"  {mutation.file}: {mutation.falsifies}")
    if left:
        raise SystemExit(1)


def run_room(room: str, copies: list[Path], times: dict[str, float], missing: bool) -> list[Mutation]:
    """Run the errors of one room and save each outcome. Returns those unnoticed without a reason, and the
    invalid ones. times: seconds of each test file without an error; added to."""
    listed, outcomes = mutations.load_mutations(room), mutations.load_outcomes(room)
    for mutation in listed:
        mutation.applied((copies[0] / mutation.file).read_text(encoding="utf-8"))
    waiting = [mutation for mutation in listed if not (missing and seen(outcomes.get(mutation.id)))]
    for tests in sorted({file for mutation in waiting for file in mutation.tests.split()} - times.keys()):
        times[tests] = time_unchanged(copies[0], tests)
    running, free = list[Run](), copies.copy()
    while waiting or running:
        while waiting and free:
            mutation = waiting.pop(0)
            limit = LIMIT + 5 * sum(times[file] for file in mutation.tests.split())
            running.append(Run(free.pop(), mutation.tests, mutation, limit))
        time.sleep(0.05)
        for run in running.copy():
            if (outcome := run.ended()) is not None:
                running.remove(run)
                free.append(run.copy)
                row = as_row(run, outcome)
                outcomes[row.id] = row
                mutations.save_outcomes(room, outcomes)
    mutations.save_outcomes(room, outcomes)
    return [
        m
        for m in listed
        if not seen(outcomes[m.id]) and not (m.survives and outcomes[m.id].outcome == "unnoticed")
    ]


def seen(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.outcome in NOTICED


def time_unchanged(copy: Path, tests: str) -> float:
    """Seconds that the tests take, which also caches bytecode. Raises `UserError` if one fails."""
    run = Run(copy, tests, None, limit=3600)
    while (outcome := run.ended()) is None:
        time.sleep(0.05)
    if outcome != "unnoticed":
        verdict = run.verdict
        raise errors.UserError(
            f"without an error put in, {verdict.failed or tests} fails: {verdict.text or outcome}"
        )
    print(f"{tests}: {run.seconds:.1f} s without an error", flush=True)
    return run.seconds


def as_row(run: Run, outcome: str) -> Outcome:
    assert run.mutation
    print(f"  {outcome:9} {run.seconds:5.1f} s  {run.mutation.file}: {run.mutation.falsifies}", flush=True)
    if run.verdict.failed:
        print(f"{'':20} {run.verdict.failed}: {run.verdict.text[:150]}", flush=True)
    return Outcome(
        id=run.mutation.id,
        file=run.mutation.file,
        falsifies=run.mutation.falsifies,
        tests=run.tests,
        outcome=outcome,
        by=run.verdict.failed,
        seconds=round(run.seconds, 1),
    )


if __name__ == "__main__":
    errors.run(main)
