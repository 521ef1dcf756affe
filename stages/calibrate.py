"""Fit the temperature and choose the decision threshold, both on val alone."""

from cxr import calibration, runtime
from cxr.calibration import Calibration, fit_temperature, nll, youden_threshold
from cxr.data import packed
from cxr.errors import run
from cxr.models import classifier
from cxr.models.classifier import predict
from cxr.params import load


def main() -> None:
    params = load()
    device = runtime.configure(params.compute)
    data = packed.load()
    val = data.rows("val")
    labels = data.labels[val]
    raw = predict(classifier.load(), data.images[val], device).mean

    temperature = round(fit_temperature(raw, labels), 6)
    scaled = Calibration(temperature, None)(raw)
    threshold: float | None = None
    if len(data.classes) == 2:
        rule = params.calibrate.threshold
        threshold = round(youden_threshold(labels == 1, scaled[:, 1]), 6) if rule == "youden" else float(rule)
    calibration.save(Calibration(temperature, threshold))
    print(f"temperature {temperature:.3f}, threshold {threshold}")
    print(f"val nll {nll(raw, labels):.4f} before, {nll(scaled, labels):.4f} after")


if __name__ == "__main__":
    run(main)
