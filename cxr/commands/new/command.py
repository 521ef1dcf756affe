"""`cxr new`: parameters for your own radiographs, or a published data set, from its folder or table."""

import argparse
import subprocess
from pathlib import Path
from typing import Any

from cxr import params
from cxr.commands.new.files import FileReport, inspect_files
from cxr.commands.new.found import Found, find_images
from cxr.commands.new.recognise import Proposal, recognise
from cxr.core.dataset import SPLITS, small_classes
from cxr.core.errors import UserError
from cxr.recipes import changing_params


def add(commands: Any) -> None:
    command = commands.add_parser(
        "new",
        help="write params.yaml for your own radiographs",
        description="Looks at a folder of class folders, a table beside images, or the folder of a "
        "published data set (ChestX-ray14, CheXpert, VinDr-CXR, MIMIC-CXR-JPG), writes what it is into the "
        "sections download, table and split of params.yaml, and prints what it found. Trains nothing.",
    )
    command.add_argument("data", type=Path, metavar="FOLDER|TABLE", help="a folder, or a CSV or Parquet file")
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if params.yaml has changes that Git does not have, if `data` is not recognised, or
    for a mistake in it that the stage download would stop at; params.yaml is then as before."""
    check_committed(params.PATH)
    proposal = recognise(arguments.data)
    sections: dict[str, Any] = {}
    for key, value in proposal.values.items():
        *names, name = key.split(".")
        section = sections
        for part in names:
            section = section.setdefault(part, {})
        section[name] = value
    with changing_params(sections, params.PATH, params.PATH) as proposed:
        found = find_images(proposed)
        report = inspect_files(found.folder, found.paths)
    print("\n".join(found_lines(proposal, found, report, proposed)))


def check_committed(path: Path) -> None:
    """So that `git checkout` undoes what is written. Raises `UserError` if it could not."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run from the repository's root")
    try:
        done = subprocess.run(["git", "status", "--porcelain", "--", path], capture_output=True)
    except FileNotFoundError:
        raise UserError("git: no such program; install Git, by which a change can be undone") from None
    if done.stdout:
        raise UserError(
            f"{path}: has changes that are not committed; commit them, or drop them by "
            f"`git checkout {path}`, and run again"
        )
    if done.returncode:
        raise UserError(f"{path}: is not in a Git repository, so a change could not be undone")


def found_lines(proposal: Proposal, found: Found, report: FileReport, proposed: params.Params) -> list[str]:
    """What was recognised, found and written, and what to run next, a line each."""
    splits = [split for split in SPLITS if split in found.splits]
    counts = {split: found.counts(split) for split in splits} or {"all together": found.counts()}
    lines = [proposal.title, *(f"  {note}" for note in proposal.notes), f"images: {_classes(found.counts())}"]
    lines += [f"  {split}: {_classes(counts[split])}" for split in splits]
    if patients := len(set(found.patients) - {""}):
        lines.append(f"patients: {patients:,}")
    else:
        lines.append("patients: unknown; where one is in train and in test, results are too good")
    if found.left_out:
        reasons = (f"{reason.replace('_', ' ')} {n:,}" for reason, n in sorted(found.left_out.items()))
        lines.append(f"rows left out: {', '.join(reasons)}")
    lines += report.lines(proposed.download.size)
    for split, of_split in counts.items():
        if few := small_classes(of_split):
            lines.append(
                f"few images, {split}: {few}; every split needs each class, and says little by so few"
            )
    return [
        *lines,
        f"written into params.yaml: {', '.join(dict.fromkeys(key.split('.')[0] for key in proposal.values))}",
        "next:",
        "  git diff params.yaml    what was written; `git checkout params.yaml` undoes it",
        "  dvc repro split         read all images; then look at metrics/data.json and plots/samples.png",
        "  dvc repro               train and evaluate",
    ]


def _classes(counts: dict[str, int]) -> str:
    of_class = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"{sum(counts.values()):,} in {len(counts)} classes: {of_class}"
