"""What 8-bit weights and activations would change in the answers of models/classifier.onnx, and its time.

    python -m benchmarks.service_int8

ONNX Runtime's static quantisation (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html)
of convolutions, weights of 7 bits and per channel, which no processor saturates, calibrated on 500 training
radiographs. The answers are compared on val; times are of one radiograph and one core, alternating.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from sklearn.metrics import log_loss, roc_auc_score

from benchmarks.service_inference import alternate
from cxr.core.dataset import Dataset, load_dataset
from cxr.core.errors import run
from cxr.core.probabilities import decide
from cxr.inference.onnx_session import INPUT, PATH, OnnxModel

CALIBRATION = 500


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    data = load_dataset()
    models = [OnnxModel(content, threads=1) for content in (PATH.read_bytes(), quantised(data))]
    val = data.rows("val")
    exact, approximate = (model(data.images[val]).probabilities for model in models)
    changed = (
        decide(exact, models[0].facts.threshold) != decide(approximate, models[0].facts.threshold)
    ).sum()
    differences = np.abs(exact - approximate)
    print(
        f"{len(val):,} val radiographs: probabilities differ by {differences.mean():.4f} on average and ",
        end="",
    )
    print(f"{differences.max():.3f} at most; {changed} decisions change")
    if len(data.classes) == 2:
        for name, probabilities in (("float32", exact), ("8 bits", approximate)):
            auc = roc_auc_score(data.labels[val], probabilities[:, 1])
            print(f"{name}: val AUC {auc:.5f}, nll {log_loss(data.labels[val], probabilities):.4f}")
    image = data.images[val[:1]]
    times = alternate({name: partial(model, image) for name, model in zip("ab", models, strict=True)}, 200)
    exact_ms, approximate_ms = (1000 * np.median(times[name]) for name in "ab")
    print(f"network: {exact_ms:.1f} ms in float32, {approximate_ms:.1f} ms in 8 bits")


def quantised(data: Dataset) -> bytes:
    """The content of models/classifier.onnx in 8 bits, with its metadata."""
    train = data.rows("train")
    images = data.images[train[:: max(1, len(train) // CALIBRATION)]]
    with tempfile.TemporaryDirectory() as folder:
        prepared, path = Path(folder, "prepared.onnx"), Path(folder, "quantised.onnx")
        quant_pre_process(PATH, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            path,
            Batches(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MaxPool", "Relu"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        model = onnx.load(path)
    del model.metadata_props[:]
    model.metadata_props.extend(onnx.load(PATH).metadata_props)
    content: bytes = model.SerializeToString()
    return content


class Batches(CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        self._batches = iter(np.array_split(np.asarray(images), max(1, len(images) // 50)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


if __name__ == "__main__":
    run(main)
