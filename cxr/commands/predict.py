"""`cxr predict`: the calibrated probability of each class for radiographs, and where the classifier looks."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.commands import radiographs
from cxr.commands.radiographs import Radiographs, read_named
from cxr.core.errors import UserError
from cxr.reports.disclaimer import NOTICE

if TYPE_CHECKING:  # they take seconds to import, and `cxr --help` does not wait for them
    from cxr.inference.calibration import Calibration
    from cxr.models.classifier import Classifier


def add(commands: Any) -> None:
    command = commands.add_parser(
        "predict",
        help="calibrated probability of each class for radiographs",
        description="Prints the calibrated probability of each class for radiographs. One that cannot be read is a "
        "line on stderr and the others still go on, but the exit code is then 1.",
    )
    command.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="PNG, JPEG or DICOM file, or a folder of them"
    )
    command.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    command.add_argument(
        "--explain",
        type=Path,
        metavar="PATH",
        help="draw where the classifier looks (Grad-CAM): into one .png file, or a file a radiograph into a folder",
    )
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if there is no model or a picture cannot be drawn, SystemExit with code 1 if a
    radiograph could not be read."""
    from cxr.inference.calibration import load_calibration
    from cxr.models.classifier import load_classifier

    model, calibrate = load_classifier(), load_calibration()
    images = read_named(arguments.images, model.spec.size)
    targets = _targets(arguments.explain, images) if arguments.explain else []
    results = _results(images, model, calibrate) if images.paths else []
    if targets:
        _draw(targets, images, model, results)
    if arguments.json:
        print(json.dumps(_document(images, model, calibrate, results), indent=2, allow_nan=False))
    elif results:
        _print_table(model.spec.classes, calibrate, results)
        if targets:
            place = targets[0] if len(set(targets)) == 1 else targets[0].parent
            print(f"Where the classifier looks: {place}")
        print(NOTICE)
    images.end()


def _results(images: Radiographs, model: "Classifier", calibrate: "Calibration") -> list[dict[str, Any]]:
    """`path`, `probabilities` by class and `decision` of each radiograph."""
    import torch

    from cxr.core.probabilities import decide
    from cxr.models import classifier

    classes = model.spec.classes
    probabilities = calibrate(classifier.predict(model, images.images, torch.device("cpu")).mean)
    return [
        {
            "path": str(path),
            "probabilities": {name: round(float(p), 6) for name, p in zip(classes, row, strict=True)},
            "decision": classes[decision],
        }
        for path, row, decision in zip(
            images.paths, probabilities, decide(probabilities, calibrate.threshold), strict=True
        )
    ]


def _document(
    images: Radiographs, model: "Classifier", calibrate: "Calibration", results: list[dict[str, Any]]
) -> dict[str, Any]:
    """threshold: of the second class, null where the most probable class is the decision. prevalence: the
    shares of the classes that probabilities refer to, null if none were declared."""
    from cxr.core.files import sha256
    from cxr.models import classifier

    classes = model.spec.classes
    return {
        "notice": NOTICE,
        "model_sha256": sha256(classifier.WEIGHTS),
        "classes": classes,
        "threshold": calibrate.threshold,
        "prevalence": calibrate.prevalence and dict(zip(classes, calibrate.prevalence, strict=True)),
        "images": results,
        "errors": images.errors,
    }


def _print_table(classes: list[str], calibrate: "Calibration", results: list[dict[str, Any]]) -> None:
    width = max(len("image"), *(len(result["path"]) for result in results))
    columns = {name: max(6, len(f"p({name})")) for name in classes}
    titles = (f"{f'p({name})':>{column}}" for name, column in columns.items())
    print(f"{'image':{width}}  {'  '.join(titles)}  decision")
    for result in results:
        numbers = (f"{result['probabilities'][name]:{column}.3f}" for name, column in columns.items())
        print(f"{result['path']:{width}}  {'  '.join(numbers)}  {result['decision']}")
    if calibrate.prevalence:
        shares = ", ".join(
            f"{share:.0%} {name}" for share, name in zip(calibrate.prevalence, classes, strict=True)
        )
        print(f"Probabilities refer to radiographs of which {shares} (params.yaml: calibrate.prevalence).")
    if calibrate.threshold is not None:
        print(f"Decision: {classes[1]} from p = {calibrate.threshold:.3f} (chosen on val).")


def _targets(explain: Path, images: Radiographs) -> list[Path]:
    """Of each radiograph the picture that it is drawn into. Raises `UserError` if that cannot be."""
    from cxr.commands import pictures

    if explain.is_dir() or not explain.suffix:
        stems = Counter[str]()
        targets = []
        for path in images.paths:
            stems[path.stem] += 1
            number = f"_{stems[path.stem]}" if stems[path.stem] > 1 else ""
            targets.append(explain / f"{path.stem}{number}_gradcam.png")
    else:
        targets = [explain] * len(images.paths)
        if len(targets) > pictures.ROWS:
            raise UserError(
                f"--explain {explain}: one picture holds {pictures.ROWS} radiographs, not {len(targets)}; "
                "name a folder"
            )
    for target in dict.fromkeys(targets):
        radiographs.check_picture(target, "--explain", images)
    return targets


def _draw(
    targets: list[Path], images: Radiographs, model: "Classifier", results: list[dict[str, Any]]
) -> None:
    import numpy as np
    import torch

    from cxr.commands import pictures
    from cxr.data.radiograph import read_original
    from cxr.inference.gradcam import gradcam

    decided = np.array([model.spec.classes.index(result["decision"]) for result in results])
    maps = gradcam(model, images.images, decided, torch.device("cpu"))
    for target in dict.fromkeys(targets):
        mine = [number for number, each in enumerate(targets) if each == target]
        cases = [
            pictures.Explained(
                name=images.paths[number].name,
                image=read_original(images.paths[number]).full(),
                seen=images.images[number],
                heat=maps[number],
                decision=results[number]["decision"],
                probability=results[number]["probabilities"][results[number]["decision"]],
            )
            for number in mine
        ]
        pictures.explanation_figure(target, cases)
        for number in mine:
            results[number]["explanation"] = str(target)
