"""`cxr new`: parameters for your own radiographs, or a published data set, from its folder or table."""

import argparse
import subprocess
from pathlib import Path
from typing import Any

from cxr import params
from cxr.commands.new.files import FileReport, inspect_files
from cxr.commands.new.found import Found, find_images
from cxr.commands.new.recognise import Proposal, recognise
from cxr.core.dataset import small_classes
from cxr.core.errors import UserError
from cxr.recipes import changed_params


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
    with changed_params(sections, params.PATH, params.PATH) as proposed:
        found = find_images(proposed)
        report = inspect_files(found.folder, found.paths)
    print("\n".join(summary(proposal, found, report, proposed)))


def check_committed(path: Path) -> None:
    """So that `git checkout` undoes what is written. Raises `UserError` if it could not."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run from the repository's root")
    done = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", path], capture_output=True)
    if done.returncode == 1:
        raise UserError(
            f"{path}: has changes that are not committed; commit them, or drop them by "
            f"`git checkout {path}`, and run again"
        )
    if done.returncode:
        raise UserError(f"{path}: is not in a Git repository with a commit, so a change could not be undone")


def summary(proposal: Proposal, found: Found, report: FileReport, proposed: params.Params) -> list[str]:
    """What was recognised, found and written, and what to run next, a line each."""
    counts = found.counts()
    lines = [proposal.title, *(f"  {note}" for note in proposal.notes)]
    classes = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    lines.append(f"images: {len(found.paths):,} in {len(counts)} classes: {classes}")
    if patients := len(set(found.patients) - {""}):
        lines.append(f"patients: {patients:,}")
    else:
        lines.append("patients: unknown, so one may be in train and in test, and results too good")
    if any(found.splits):
        of_split = ", ".join(f"{split} {found.splits.count(split):,}" for split in sorted(set(found.splits)))
        lines.append(f"splits: {of_split}")
    if found.left_out:
        reasons = ", ".join(
            f"{reason.replace('_', ' ')} {n:,}" for reason, n in sorted(found.left_out.items())
        )
        lines.append(f"rows left out: {reasons}")
    lines += report.lines(proposed.download.size)
    if few := small_classes(counts):
        lines.append(f"few images: {few}; every split needs each class, and measures nothing on so few")
    lines.append(f"written into params.yaml: {', '.join(proposal.values)}")
    return [
        *lines,
        "next:",
        "  git diff params.yaml    what was written; `git checkout params.yaml` undoes it",
        "  dvc repro split         read all images; then look at metrics/data.json and plots/samples.png",
        "  dvc repro               train and evaluate",
    ]
