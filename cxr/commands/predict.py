"""`cxr predict`: the calibrated probability of each class for picture files."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from cxr.errors import UserError


def add(commands: Any) -> None:
    command = commands.add_parser("predict", help="calibrated probability of each class for picture files")
    command.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="PNG or JPEG file")
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Print one line for each picture; an unreadable one is reported and the others still go on.

    Raises `UserError` if there is no model, SystemExit with code 1 if a picture could not be read.
    """
    import torch  # here, so that `cxr --help` does not wait for it

    from cxr import calibration
    from cxr.film import read_film
    from cxr.metrics import decide
    from cxr.models import classifier

    model, calibrate = classifier.load(), calibration.load()
    films, paths, failed = [], [], False
    for path in arguments.images:
        try:
            films.append(read_film(path, model.spec.size))
            paths.append(path)
        except UserError as error:
            failed = True
            print(f"error: {error}", file=sys.stderr)
    if films:
        probabilities = calibrate(classifier.predict(model, np.stack(films), torch.device("cpu")).mean)
        decisions = decide(probabilities, calibrate.threshold)
        classes = model.spec.classes
        width = max(len("image"), *(len(str(path)) for path in paths))
        columns = [max(6, len(f"p({name})")) for name in classes]
        titles = (f"{f'p({name})':>{column}}" for name, column in zip(classes, columns, strict=True))
        print(f"{'image':{width}}  {'  '.join(titles)}  decision")
        for path, row, decision in zip(paths, probabilities, decisions, strict=True):
            numbers = (f"{p:{column}.3f}" for p, column in zip(row, columns, strict=True))
            print(f"{path!s:{width}}  {'  '.join(numbers)}  {classes[decision]}")
        if calibrate.prevalence:
            shares = ", ".join(
                f"{share:.0%} {name}" for share, name in zip(calibrate.prevalence, classes, strict=True)
            )
            print(f"Probabilities refer to films of which {shares} (params.yaml: calibrate.prevalence).")
        if calibrate.threshold is not None:
            print(f"Decision: {classes[1]} from p = {calibrate.threshold:.3f} (chosen on val).")
        print("For research only, not for diagnosis.")
    if failed:
        raise SystemExit(1)
