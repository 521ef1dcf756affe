"""A released classifier, applied to radiographs by ONNX Runtime, without PyTorch: that of a run, of an
exported file, or of the Hugging Face hub. `cxr predict`, `search` and `validate` use it, and any program:

    import cxr

    model = cxr.load("build/demo")  # a run; or an exported folder, a file, or "ORG/NAME" on the hub
    for radiograph in model.predict(["a.png", "b.dcm"]):
        print(radiograph.decision, radiograph.probabilities)
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cxr.core.errors import UserError
from cxr.core.fetch import Setting, from_hub
from cxr.core.outputs import missing_output
from cxr.core.probabilities import decide
from cxr.data.radiograph import original_of_array, read_original
from cxr.inference import onnx_session
from cxr.inference.onnx_session import Answer, OnnxModel
from cxr.inference.typicality import Typicality

FILE = onnx_session.PATH.name  # in an exported folder and on the hub
CARDS = (Path("README.md"), Path("reports/model_card.md"))  # of an exported folder, of a run
ON_HUB = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w./-]+))?")  # ORG/NAME or ORG/NAME@REVISION
CHOICES = "an exported .onnx file, the folder of a run or of an export, or ORG/NAME[@REVISION] on the hub"


@dataclass(frozen=True)
class ClassPrediction:
    """Of one radiograph. probabilities: calibrated, 0 to 1, by class. decision: a class, at the released
    threshold. typicality: whether the radiograph is like the training images."""

    probabilities: dict[str, float]
    decision: str
    typicality: Typicality


class ReleasedModel:
    """onnx: the network, from stored images to answers. home: the folder that holds metrics/, data/ and
    reports/ of the model, as far as they are there."""

    def __init__(self, onnx: OnnxModel, home: Path) -> None:
        self.onnx = onnx
        self.home = home

    @property
    def classes(self) -> list[str]:
        """Names, in the order of labels."""
        return self.onnx.facts.classes

    @cached_property
    def card(self) -> str | None:
        """The text of the model card (Markdown); None if there is none that names these weights."""
        for path in CARDS:
            if (self.home / path).is_file():
                text = (self.home / path).read_text(encoding="utf-8")
                if self.onnx.facts.classifier_sha256 in text:
                    return text
        return None

    def predict(self, radiographs: Iterable[Path | str | np.ndarray]) -> list[ClassPrediction]:
        """One result for each of the radiographs: files (PNG, JPEG, DICOM, WebP, BMP, TIFF), or arrays of
        their grey levels, (H, W) uint8 or uint16, of any size, treated as a file of them.

        Raises `UserError` for a file that cannot be read and an array of another kind.
        """
        images = self.read(radiographs)
        return self.predictions(self.onnx.answer_each(images)) if len(images) else []

    def embed(self, radiographs: Iterable[Path | str | np.ndarray]) -> np.ndarray:
        """(N, d) float32: features of the N radiographs, of each member L2-normalised, by whose cosine
        similar radiographs are found. radiographs, errors: as for `predict`."""
        images = self.read(radiographs)
        return self.onnx.answer_each(images).embedding if len(images) else np.empty((0, 0), np.float32)

    def read(self, radiographs: Iterable[Path | str | np.ndarray]) -> np.ndarray:
        """(N, size, size) uint8: the stored images of radiographs. radiographs, errors: as for `predict`."""
        size, reading = self.onnx.facts.size, self.onnx.facts.reading
        originals = (
            original_of_array(each) if isinstance(each, np.ndarray) else read_original(each)
            for each in radiographs
        )
        images = [original.resized(size, reading) for original in originals]
        return np.stack(images) if images else np.empty((0, size, size), np.uint8)

    def predictions(self, answer: Answer) -> list[ClassPrediction]:
        """answer: of the network, to N stored images."""
        decisions = decide(answer.probabilities, self.onnx.facts.threshold)
        return [
            ClassPrediction(dict(zip(self.classes, row, strict=True)), self.classes[decision], mark)
            for row, decision, mark in zip(
                answer.probabilities.tolist(), decisions, self.onnx.typicality(answer), strict=True
            )
        ]


class _HubName(Setting):
    """A model of the hub, named by `load` instead of by params.yaml."""

    def error(self, text: str) -> UserError:
        return UserError(f"{self.value}: {text}")


def load(model: Path | str = ".", threads: int | None = None) -> ReleasedModel:
    """model: a file that the stage export wrote, the folder of a run or of an export (`cxr push --dry-run`),
    or ORG/NAME of the Hugging Face hub, which is looked for in CXR_MIRROR and the hub's cache first;
    ORG/NAME@REVISION is a commit, tag or branch of it. threads: of ONNX Runtime; None: one for each core.

    Raises `UserError` if there is no such model, or if another program wrote it.
    """
    path = _find(model)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    home = path.parent.parent if path.parent.name == onnx_session.PATH.parent.name else path.parent
    return ReleasedModel(OnnxModel(content, threads or os.cpu_count() or 1, path), home)


def _find(model: Path | str) -> Path:
    """The .onnx file."""
    path = Path(model)
    if path.is_dir():
        for name in (onnx_session.PATH, Path(FILE)):
            if (path / name).is_file():
                return path / name
        folder = path.resolve()
        if any((each / "dvc.yaml").is_file() for each in (folder, *folder.parents)):
            raise missing_output(onnx_session.PATH, "model", path)
        raise UserError(f"{path / onnx_session.PATH}: no model here; name {CHOICES}, by --model")
    named = ON_HUB.fullmatch(str(model))
    if path.exists() or path.parent.is_dir() or path.suffix == ".onnx" or not named:
        if not path.is_file():
            raise UserError(f"{model}: no such model; name {CHOICES}")
        return path
    others = [str(CARDS[0]), "metrics/*"]
    return from_hub(_HubName("model", str(model)), named[1], named[2], [FILE], others)
