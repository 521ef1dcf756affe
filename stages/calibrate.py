"""Fit the temperature and choose the decision threshold, both on val alone; state the prevalence; learn from
train and val which images are like the training images."""

import numpy as np

from cxr.core.dataset import load_dataset, small_classes
from cxr.core.device import configure
from cxr.core.errors import run
from cxr.core.probabilities import nll
from cxr.inference.calibration import Calibration, fit_temperature, save_calibration
from cxr.inference.prevalence import class_prevalence, declared
from cxr.inference.thresholds import choose_thresholds
from cxr.inference.typicality_model import fit_typicality, save_typicality
from cxr.models.classifier import load_classifier, predict
from cxr.params import load_params

# The operating point of each rule of calibrate.threshold
RULES = {"youden": "youden", "sensitivity": "target_sensitivity", "specificity": "target_specificity"}


def main() -> None:
    params = load_params()
    device = configure(params.compute.device, params.compute.threads)
    data = load_dataset()
    val = data.rows("val")
    labels = data.labels[val]
    model = load_classifier()
    raw, prior = predict(model, data.images[val], device).mean, model.spec.prior

    of_train = class_prevalence(data.labels[data.rows("train")], len(data.classes))
    stated = declared(params.calibrate.prevalence, of_train, "calibrate.prevalence")
    prevalence = [round(float(proportion), 6) for proportion in stated]  # as calibration.json stores them

    # Val is taken to have the prevalence of train, so the temperature is fitted at that.
    temperature = round(fit_temperature(raw, labels, prior, of_train.tolist()), 6)
    before, after = (
        nll(Calibration(value, None, prior, of_train.tolist())(raw), labels) for value in (1.0, temperature)
    )
    scaled = Calibration(temperature, None, prior, prevalence)(raw)
    points: dict[str, float] | None = None
    threshold: float | None = None
    if len(data.classes) == 2:
        rule = params.calibrate.threshold
        points = choose_thresholds(labels == 1, scaled[:, 1], params.calibrate.target)
        if isinstance(rule, float) and rule != points["one_half"]:
            points["fixed"] = rule
        threshold = rule if isinstance(rule, float) else points[RULES[rule]]
    typicality = fit_typicality(model, data.images[data.rows("train")], data.images[val], device)
    save_calibration(Calibration(temperature, threshold, prior, prevalence, points))
    save_typicality(typicality)
    counts = {name: int(np.sum(labels == i)) for i, name in enumerate(data.classes)}
    if few := small_classes(counts):
        print(f"warning: val has {few}, too few to fit on: temperature and threshold are imprecise")
    print(f"temperature {temperature:.3f}, threshold {threshold}")
    print(f"log loss on val, at the prevalence of train: {before:.4f} before, {after:.4f} after")


if __name__ == "__main__":
    run(main)
