"""Fit the temperature and choose the decision threshold, both on val alone; declare the prevalence."""

import numpy as np

from cxr import calibration, runtime
from cxr.calibration import Calibration, fit_temperature
from cxr.data import packed
from cxr.errors import run
from cxr.files import read_csv
from cxr.imbalance import make_targets
from cxr.likelihood import nll
from cxr.models import classifier
from cxr.models.classifier import predict
from cxr.operating_points import choose
from cxr.params import load
from cxr.prevalence import declared, learnt_prior, shares

# calibrate.threshold: its operating point
RULES = {"youden": "youden", "sensitivity": "target_sensitivity", "specificity": "target_specificity"}


def main() -> None:
    params = load()
    device = runtime.configure(params.compute)
    data = packed.load()
    val = data.rows("val")
    labels = data.labels[val]
    raw = predict(classifier.load(), data.images[val], device).mean

    count = len(data.classes)
    train = data.rows("train")
    subclasses = [row["subclass"] for row in read_csv("data/subclasses.csv")]
    targets = make_targets(params.imbalance, data.labels[train], data.classes, subclasses)
    prior = rounded(learnt_prior(targets, count))
    of_train = shares(data.labels[train], count)
    prevalence = rounded(declared(params.calibrate.prevalence, of_train, "calibrate.prevalence"))

    # Val has the shares of train, so that is what the temperature is fitted at.
    temperature = round(fit_temperature(raw, labels, prior, of_train.tolist()), 6)
    before, after = (
        nll(Calibration(each, None, prior, of_train.tolist())(raw), labels) for each in (1.0, temperature)
    )
    scaled = Calibration(temperature, None, prior, prevalence)(raw)
    points: dict[str, float] | None = None
    threshold: float | None = None
    if len(data.classes) == 2:
        rule = params.calibrate.threshold
        points = choose(labels == 1, scaled[:, 1], params.calibrate.target)
        if isinstance(rule, float):
            points["fixed"] = rule
        threshold = points["fixed" if isinstance(rule, float) else RULES[rule]]
    calibration.save(Calibration(temperature, threshold, prior, prevalence, points))
    print(f"temperature {temperature:.3f}, threshold {threshold}")
    print(f"val nll {before:.4f} before, {after:.4f} after, at val's own prevalence")


def rounded(shares: np.ndarray) -> list[float]:
    """As calibration.json keeps them."""
    return [round(float(share), 6) for share in shares]


if __name__ == "__main__":
    run(main)
