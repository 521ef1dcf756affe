"""Export the calibrated classifier to ONNX, and compare it with PyTorch on every test radiograph."""

from pathlib import Path

import numpy as np
import torch

from cxr.core import device
from cxr.core.dataset import Dataset, load_dataset
from cxr.core.errors import UserError, run
from cxr.core.files import atomic, read_json, sha256, write_json
from cxr.inference import calibration, predictions
from cxr.inference.calibration import load_calibration
from cxr.inference.gradcam import coarse_maps
from cxr.inference.onnx_graph import OPSET, to_onnx
from cxr.inference.onnx_session import PATH, Answer, ModelMetadata, OnnxModel
from cxr.inference.predictions import check_predictions, load_predictions
from cxr.inference.typicality_model import load_typicality, measure
from cxr.models import classifier
from cxr.models.classifier import Classifier, embed_images, load_classifier, predict
from cxr.params import load_params

CPU = torch.device("cpu")  # where the service runs; a GPU rounds more coarsely
BOUND = 1e-4  # on the difference from PyTorch, see `largest_differences`
BETWEEN_DEVICES = 0.01  # bound on the difference of a probability between devices
DATA = Path("metrics/data.json")
# Written by `evaluate` about this classifier
DESCRIPTIONS = (Path("metrics/test.json"), Path("metrics/reliability.csv"))


def main() -> None:
    params = load_params()
    device.configure(params.compute.device, params.compute.threads)
    data = load_dataset()
    model, calibrate, typicality = load_classifier(), load_calibration(), load_typicality()
    spec = model.spec
    metadata = ModelMetadata(
        backbone=spec.backbone,
        members=spec.members,
        tta=spec.tta,
        size=spec.size,
        reading=spec.reading,
        classes=spec.classes,
        prevalence=calibrate.prevalence,
        threshold=calibrate.threshold,
        operating_points=calibrate.operating_points,
        val_distances=typicality.val.tolist(),
        classifier_sha256=sha256(classifier.WEIGHTS),
        limits=limits_of_data(),
    )
    content = to_onnx(model, calibrate, typicality, metadata)

    images = data.images[data.rows("test")]
    onnx = OnnxModel(content, params.compute.threads)
    exported = onnx.answer_each(images)
    raw = predict(model, images, CPU)
    expected = Answer(
        probabilities=calibrate(raw.mean),
        embedding=embed_images(model, images, CPU),
        distances=measure(typicality, model, images, raw, CPU),
        maps=maps(model, images) if onnx.has_maps else None,
    )
    differences = largest_differences(exported, expected)
    for name, difference in differences.items():
        if not difference <= BOUND:
            raise UserError(
                f"{PATH}: {name} differ from PyTorch's by {difference:.2g} on a test radiograph, more than "
                f"{BOUND:g}; run `dvc repro`, and report backbone {spec.backbone} if the error persists"
            )
    check_published(exported.probabilities, data)
    with atomic(PATH) as temporary:
        temporary.write_bytes(content)
    write_json(
        "metrics/export.json",
        {
            "images": len(images),
            "max_difference": differences,
            "bound": BOUND,
            "bytes": len(content),
            "opset": OPSET,
            "sha256": onnx.sha256,
            # By which the service knows whether these files describe the model that it serves.
            "described_by": {str(path): sha256(path) for path in DESCRIPTIONS},
        },
    )
    of_output = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
    print(f"{PATH}: {len(content) / 1e6:.1f} MB")
    print(f"largest difference from PyTorch on {len(images):,} test radiographs: {of_output}")


def limits_of_data() -> str:
    """What the data cannot show, from metrics/data.json. Raises `UserError` if `split` has not written it."""
    try:
        limits: str = read_json(DATA)["source"]["limits"]
    except (FileNotFoundError, KeyError):
        raise UserError(f"{DATA}: missing, or without `source`; run `dvc repro split`") from None
    return limits


def maps(model: Classifier, images: np.ndarray) -> np.ndarray:
    """(N, classes, grid, grid) float32: Grad-CAM before its ReLU, on the scale of class activation maps."""
    of_class = [
        coarse_maps(model, images, np.full(len(images), label), CPU)
        for label in range(len(model.spec.classes))
    ]
    stacked = torch.cat(of_class, dim=1)
    return (stacked * stacked[0, 0].numel()).cpu().numpy()


def largest_differences(exported: Answer, expected: Answer) -> dict[str, float]:
    """The `difference` of each output, and for the distances the larger one of the two."""
    differences = {
        name: difference(values, of_pytorch)
        for name, values, of_pytorch in zip(Answer._fields, exported, expected, strict=True)
        if values is not None and of_pytorch is not None
    }
    parts = zip(exported.distances.T, expected.distances.T, strict=True)
    return differences | {"distances": max(difference(*of_part) for of_part in parts)}


def difference(values: np.ndarray, of_pytorch: np.ndarray) -> float:
    """The largest absolute difference, divided by the largest absolute value if that is above 1; NaN if there
    is a NaN."""
    return float(np.abs(values - of_pytorch).max() / max(1, np.abs(of_pytorch).max()))


def check_published(probabilities: np.ndarray, data: Dataset) -> None:
    """Raises `UserError` if `evaluate` described another classifier than the one that gives these
    probabilities, (N, classes), on the N test radiographs of `data`."""
    published = load_predictions().of("test")
    check_predictions(published, data)
    if np.abs(probabilities - published.ensemble).max() > BETWEEN_DEVICES:
        raise UserError(
            f"{predictions.PATH} does not belong to {classifier.WEIGHTS} and {calibration.PATH}; "
            "run `dvc repro evaluate`"
        )


if __name__ == "__main__":
    run(main)
