"""models/classifier.onnx: the released classifier in one file, which runs without PyTorch."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

# ONNX Runtime reports its use to its publisher, with an identifier that it keeps in the home folder, unless
# this is set when it is imported; `disable_telemetry_events()` comes too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime
from PIL import Image

from cxr.core.dataset import Reading
from cxr.core.errors import UserError
from cxr.inference.typicality import Typicality, ValDistances

PATH = Path("models/classifier.onnx")
INPUT = "images"
# Raised by ONNX Runtime for bytes that are no valid model; these exceptions have no base class in common.
INVALID_MODEL = (
    runtime.Fail,
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.InvalidProtobuf,
    runtime.NotImplemented,
    runtime.RuntimeException,
)
OUTPUTS = ("probabilities", "embedding", "distances", "maps")


@dataclass(frozen=True)
class ModelMetadata:
    """The description of the classifier in the file: each field is JSON in the metadata of the ONNX model.

    size: pixels per side of a stored image. reading: how it is made from a radiograph (see
    `cxr.data.reading`). tta: see `cxr.models.preprocess.augmented_copies`. prevalence: of each class, to
    which probabilities refer, None if calibration states none. threshold, operating_points: see
    `cxr.inference.calibration.Calibration`. val_distances: of each val image (see
    `cxr.inference.typicality.ValDistances`). classifier_sha256: of models/classifier.safetensors. limits:
    what the training images cannot show (see `cxr.data.provenance`).
    """

    backbone: str
    members: int
    tta: str
    size: int
    reading: Reading
    classes: list[str]
    prevalence: list[float] | None
    threshold: float | None
    operating_points: dict[str, float] | None
    val_distances: list[list[float]]
    classifier_sha256: str
    limits: str

    def to_metadata(self) -> dict[str, str]:
        return {key: json.dumps(value) for key, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> "ModelMetadata":
        """Raises KeyError if an entry is missing, ValueError if one is not JSON."""
        return cls(**{field.name: json.loads(metadata[field.name]) for field in fields(cls)})


class Answer(NamedTuple):
    """probabilities: (N, classes) float32, calibrated. embedding: (N, d) float32, the vectors that
    models/index.faiss holds where `index.embedding` is `classifier`. distances: (N, 2) float32 from the
    training images (see `cxr.inference.typicality`). maps: (N, classes, h, w) float32 class activation maps
    before the ReLU, or None if the classifier has none (see `cxr.inference.onnx_graph`)."""

    probabilities: np.ndarray
    embedding: np.ndarray
    distances: np.ndarray
    maps: np.ndarray | None


class OnnxModel:
    """sha256: of the whole file. has_maps: whether its answers have maps."""

    def __init__(self, data: bytes, threads: int, name: Path | str = PATH) -> None:
        """data: the content of the file `name`. Raises `UserError` if the stage export did not write it."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # A spinning thread would occupy the core of one that decodes the next image.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only
        # Weights in other files, which a model may name, are looked for here, not in the working directory.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            outputs = [output.name for output in self._session.get_outputs()]
            if outputs[:2] == [*OUTPUTS[:2]] and "distances" not in outputs:
                raise UserError(
                    f"{name}: exported by an earlier version, without typicality; run `dvc repro export`"
                )
            self.facts = ModelMetadata.from_metadata(self._session.get_modelmeta().custom_metadata_map)
        except (*INVALID_MODEL, KeyError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{name}: not written by the stage export ({reason}); run `dvc repro`") from None
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.has_maps = "maps" in outputs
        self._val = ValDistances(np.array(self.facts.val_distances, np.float32))

    def __call__(self, images: np.ndarray) -> Answer:
        """images: (N, size, size) uint8. May be called by several threads at once."""
        outputs = self._session.run(None, {INPUT: images})
        return Answer(outputs[0], outputs[1], outputs[2], outputs[3] if self.has_maps else None)

    def answer_each(self, images: np.ndarray) -> Answer:
        """images: (N, size, size) uint8, at least one. One at a time, as in most requests to the service,
        which is not slower than in batches: the augmented copies of one image fit into the processor's
        cache."""
        *arrays, maps = zip(*(self(image[None]) for image in images), strict=True)
        probabilities, embedding, distances = map(np.concatenate, arrays)
        return Answer(probabilities, embedding, distances, np.concatenate(maps) if self.has_maps else None)

    def typicality(self, answer: Answer) -> list[Typicality]:
        """Whether each image is like the training images."""
        return self._val.typicality(answer.distances)


def enlarged_map(activation: np.ndarray, side: int) -> np.ndarray:
    """(side, side) float32 from 0 to 1, its maximum, or all 0 if nothing is positive: the class activation
    map `activation`, (h, w) float32 before its ReLU, in the size of an image; bilinear, as
    `cxr.inference.gradcam.gradcam`."""
    positive = Image.fromarray(np.maximum(activation, 0))
    heat = np.asarray(positive.resize((side, side), Image.Resampling.BILINEAR))
    return heat / max(float(heat.max()), np.finfo(np.float32).tiny)
