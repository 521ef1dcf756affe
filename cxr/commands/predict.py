"""`cxr predict`: the calibrated probability of each class for radiographs, and class activation maps."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.commands.radiographs import (
    AHEAD,
    NamedFiles,
    NamedRadiograph,
    add_deidentified_check,
    add_model,
)
from cxr.core.errors import UserError
from cxr.data.radiograph import KINDS
from cxr.reports.disclaimer import NOTICE

if TYPE_CHECKING:  # `cxr --help` does not wait for ONNX Runtime
    import numpy as np

    from cxr.inference.onnx_session import Answer, ModelMetadata
    from cxr.model import ReleasedModel

WEIGHTS = Path("models/classifier.safetensors")


def add(commands: Any) -> None:
    command = commands.add_parser(
        "predict",
        help="calibrated probability of each class for radiographs",
        description="Prints the calibrated probability of each class for radiographs, and their typicality: "
        "below 0.05 a file is marked as unlike the training images. A file that cannot be "
        "read is a line on stderr; the others are still predicted, but the exit code is then 1.",
    )
    command.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help=f"{KINDS} file, or a folder of them"
    )
    add_model(command)
    command.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    command.add_argument(
        "--explain",
        type=Path,
        metavar="PATH",
        help="draw the class activation map (Grad-CAM) of each decision: into one .png file, or into a "
        "folder, one file per radiograph",
    )
    add_deidentified_check(command)
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if there is no model or a figure cannot be drawn, SystemExit with code 1 if a
    radiograph could not be read."""
    from cxr.model import load

    model = load(arguments.model)
    facts = model.onnx.facts
    files = NamedFiles(arguments.images)
    if arguments.deidentified_check:
        files.check_deidentified()
    if arguments.explain:
        results = _explained(arguments.explain, files, model)
    else:
        radiographs = list(files.read(facts.size, facts.reading))
        results = _results(radiographs, model, _answer(radiographs, model)) if radiographs else []
    if arguments.json:
        print(json.dumps(_document(files, model, results), indent=2, allow_nan=False))
    elif results:
        _print_table(facts, results)
        if arguments.explain:
            drawn = {result["explanation"] for result in results}
            print(f"Class activation maps: {drawn.pop() if len(drawn) == 1 else arguments.explain}")
        print(NOTICE)
    files.end()


def _answer(radiographs: Sequence[NamedRadiograph], model: "ReleasedModel") -> "Answer":
    import numpy as np

    return model.onnx.answer_each(np.stack([radiograph.image for radiograph in radiographs]))


def _results(
    radiographs: Sequence[NamedRadiograph], model: "ReleasedModel", answer: "Answer"
) -> list[dict[str, Any]]:
    """`path`, `probabilities` by class, `decision`, and `typicality`, `unlike`, `unlike_reason` of each
    radiograph. answer: to their images."""
    return [
        {
            "path": str(radiograph.path),
            "probabilities": {name: round(p, 6) for name, p in predicted.probabilities.items()},
            "decision": predicted.decision,
            **predicted.typicality.to_json(),
        }
        for radiograph, predicted in zip(radiographs, model.predictions(answer), strict=True)
    ]


def _explained(explain: Path, files: NamedFiles, model: "ReleasedModel") -> list[dict[str, Any]]:
    """The `_results`, each with `explanation`, the figure of its class activation map."""
    from cxr.commands import figures

    targets = _targets(explain, files)
    one = len(set(targets)) == 1
    facts = model.onnx.facts
    radiographs = files.read(facts.size, facts.reading, figures.ROWS if one else len(targets))
    results = []
    # In parts, since the squares of a large folder do not fit into memory; one figure is one part, and one
    # radiograph more than it holds is enough to tell that there are too many.
    while part := list(islice(radiographs, figures.ROWS + 1 if one else AHEAD)):
        if one and len(part) > figures.ROWS:
            raise UserError(
                f"--explain {explain}: one figure holds at most {figures.ROWS} radiographs; name a folder"
            )
        answer = _answer(part, model)
        predicted = _results(part, model, answer)
        _draw(targets, part, activation_maps(model, answer, part, predicted), predicted)
        results += predicted
        del part  # frees its squares before the next ones are read
    return results


def activation_maps(
    model: "ReleasedModel",
    answer: "Answer",
    radiographs: Sequence[NamedRadiograph],
    results: Sequence[dict[str, Any]],
) -> "Sequence[np.ndarray]":
    """(size, size) float32 from 0 to 1 of each radiograph's decision. `answer` has the maps of a linear head;
    of another one Grad-CAM computes them with PyTorch, in the folder of the run.

    Raises `UserError` if neither is possible.
    """
    import numpy as np

    from cxr.core.files import sha256
    from cxr.inference.onnx_session import enlarged_map

    decisions = [model.classes.index(result["decision"]) for result in results]
    if answer.maps is not None:
        size = model.onnx.facts.size
        return [
            enlarged_map(maps[decision], size) for maps, decision in zip(answer.maps, decisions, strict=True)
        ]
    if not WEIGHTS.is_file() or sha256(WEIGHTS) != model.onnx.facts.classifier_sha256:
        raise UserError(
            "--explain: the head of this model is not linear, so its ONNX file has no class activation maps; "
            f"run in the folder of its run, which has {WEIGHTS}, with the layer of installation `train`"
        )
    import torch

    from cxr.inference.gradcam import gradcam
    from cxr.models.classifier import load_classifier

    images = np.stack([radiograph.image for radiograph in radiographs])
    return [*gradcam(load_classifier(), images, np.array(decisions), torch.device("cpu"))]


def _document(files: NamedFiles, model: "ReleasedModel", results: list[dict[str, Any]]) -> dict[str, Any]:
    """threshold: on the second class's probability, null if the decision is the most probable class.
    prevalence: of each class, which the probabilities refer to, null if none was declared. model_sha256: of
    the ONNX file. classifier_sha256: of the weights that it was made from. identifying: files that may
    identify their patient, null without --deidentified-check."""
    facts = model.onnx.facts
    return {
        "notice": NOTICE,
        "model_sha256": model.onnx.sha256,
        "classifier_sha256": facts.classifier_sha256,
        "classes": facts.classes,
        "threshold": facts.threshold,
        "prevalence": facts.prevalence and dict(zip(facts.classes, facts.prevalence, strict=True)),
        "images": results,
        "errors": files.errors,
        "identifying": files.identifying,
    }


def _print_table(facts: "ModelMetadata", results: list[dict[str, Any]]) -> None:
    from cxr.inference.typicality import LIMIT, UNLIKE

    classes = facts.classes
    width = max(len("image"), *(len(result["path"]) for result in results))
    decision = max(len(name) for name in ("decision", *classes))
    columns = {name: max(6, len(f"p({name})")) for name in classes}
    titles = (f"{f'p({name})':>{column}}" for name, column in columns.items())
    print(f"{'image':{width}}  {'  '.join(titles)}  {'decision':{decision}}  typicality")
    for result in results:
        numbers = (f"{result['probabilities'][name]:{column}.3f}" for name, column in columns.items())
        typicality = f"{result['typicality']:.3f}"
        if result["unlike"]:
            typicality += f" {UNLIKE}: {result['unlike_reason']}"
        print(
            f"{result['path']:{width}}  {'  '.join(numbers)}  {result['decision']:{decision}}  {typicality}"
        )
    if facts.prevalence:
        by_class = zip(classes, facts.prevalence, strict=True)
        prevalence = ", ".join(f"{name} {fraction:.0%}" for name, fraction in by_class)
        print(f"Probabilities refer to a prevalence of {prevalence} (params.yaml: calibrate.prevalence).")
    if facts.threshold is not None:
        print(f"Decision: {classes[1]} from p = {facts.threshold:.3f} (calibrate.threshold).")
    if any(result["unlike"] for result in results):
        print(
            f"Typicality below {LIMIT}, as of 5 % of the val images: {UNLIKE}. What was measured on val and "
            "test, calibration too, need not hold for such an image."
        )


def _targets(explain: Path, files: NamedFiles) -> list[Path]:
    """The figure that each of the files is drawn into. Raises `UserError` if it cannot be written."""
    if explain.suffix and not explain.is_dir():
        targets = [explain] * len(files.paths)
    else:
        names: dict[str, None] = {}
        counts = Counter[str]()
        for path in files.paths:
            name = path.stem
            while name in names:  # 1.png of another folder, or 1.dcm, becomes 1_2
                counts[path.stem] += 1
                name = f"{path.stem}_{counts[path.stem] + 1}"
            names[name] = None
        targets = [explain / f"{name}_gradcam.png" for name in names]
    for target in dict.fromkeys(targets):
        files.check_figure(target, "--explain")
    return targets


def _draw(
    targets: Sequence[Path],
    radiographs: Sequence[NamedRadiograph],
    maps: "Sequence[np.ndarray]",
    results: Sequence[dict[str, Any]],
) -> None:
    """Draw each radiograph into its target, and add the target to its result as `explanation`."""
    from cxr.commands import figures

    rows: dict[Path, list[figures.Explained]] = {}
    for radiograph, result, activation in zip(radiographs, results, maps, strict=True):
        assert radiograph.square is not None  # `_explained` asks for it
        target = targets[radiograph.number]
        result["explanation"] = str(target)
        row = figures.Explained(
            name=radiograph.path.name,
            image=radiograph.square,
            seen=radiograph.image,
            activation=activation,
            decision=result["decision"],
            probability=result["probabilities"][result["decision"]],
        )
        rows.setdefault(target, []).append(row)
    for target, explained in rows.items():
        figures.explanation_figure(target, explained)
