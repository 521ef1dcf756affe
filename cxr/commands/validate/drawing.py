"""What the figures on the page of `cxr validate` show: arrays for `cxr.figures`."""

from pathlib import Path

import numpy as np

from cxr.commands.validate.measurement import Sample
from cxr.commands.validate.validation import Validation
from cxr.core.probabilities import decide
from cxr.evaluation import reliability
from cxr.evaluation.curves import ranked_counts
from cxr.evaluation.reliability import reliability_curve
from cxr.figures.charts import ReliabilityDiagram, reliability_diagrams
from cxr.figures.curves import Curve, Panel, roc_curves
from cxr.figures.style import COLOURS, GREY, PLAIN
from cxr.figures.validation import class_histograms
from cxr.inference.prevalence import class_prevalence


def draw_validation(validation: Validation, folder: Path) -> dict[str, Path]:
    """Files in `folder` by title. An incomplete sample has no ROC curve and no reliability diagram."""
    figures = {f"Probability of {_event(validation)}, by true class": folder / "histogram.png"}
    _draw_histogram(validation, *figures.values())
    if validation.sample.complete:
        figures["ROC curve and decision"] = folder / "roc.png"
        _draw_roc(validation, folder / "roc.png")
        for name, sample in _samples(validation).items():
            figures[f"Calibration {name}"] = folder / f"reliability_{name}.png"
            _draw_reliability(validation, sample, folder / f"reliability_{name}.png")
    return figures


def _samples(validation: Validation) -> dict[str, Sample]:
    reference = validation.reference
    test = None if isinstance(reference, str) else reference.sample
    return {"here": validation.sample} | ({"on test": test} if test else {})


def _draw_roc(validation: Validation, path: Path) -> None:
    """With two classes, here and on test, each with the released decision, else of each class against the
    others."""
    sample = validation.sample
    if len(sample.classes) > 2:
        curves = [
            Curve(name, _roc(sample, label), COLOURS[label % len(COLOURS)])
            for label, name in enumerate(sample.classes)
        ]
    else:
        curves = [
            Curve(name, _roc(of, 1), PLAIN if of is sample else GREY, _point(validation, of))
            for name, of in _samples(validation).items()
        ]
    roc_curves(path, [Panel("", curves, chance=(0, 1))])


def _draw_reliability(validation: Validation, sample: Sample, path: Path) -> None:
    """Weighted to the prevalence to which probabilities refer, so that it can be compared with test."""
    stated = validation.model.facts.prevalence
    prevalence = np.array(stated) if stated else class_prevalence(sample.labels, len(sample.classes))
    curve = reliability_curve(sample.labels, sample.probabilities, prevalence, sample.patients)
    diagram = ReliabilityDiagram(
        f"ECE {curve.error:.3f}",
        *(curve.probability, curve.observed, curve.low, curve.high, curve.images),
        bins=reliability.BINS,
        probabilities=reliability.events(sample.labels, sample.probabilities)[0],
    )
    reliability_diagrams(path, [diagram], "", (f"probability of {_event(validation)}", "observed frequency"))


def _draw_histogram(validation: Validation, path: Path) -> None:
    sample = validation.sample
    probabilities, _ = reliability.events(sample.labels, sample.probabilities)
    of_class = {
        name: probabilities[sample.labels == label]
        for label, name in enumerate(sample.classes)
        if (sample.labels == label).any()
    }
    threshold = validation.model.facts.threshold
    class_histograms(path, of_class, f"probability of {_event(validation)}", threshold)


def _event(validation: Validation) -> str:
    classes = validation.sample.classes
    return classes[1] if len(classes) == 2 else "the most probable class"


def _roc(sample: Sample, label: int) -> tuple[np.ndarray, np.ndarray]:
    """False positive rates and sensitivities, from (0, 0) to (1, 1)."""
    every = np.ones((1, len(sample.labels)))
    true, false = ranked_counts(sample.labels == label, sample.probabilities[:, label], every)
    false_positive, true_positive = (np.insert(counts[0] / counts[0, -1], 0, 0.0) for counts in (false, true))
    return false_positive, true_positive


def _point(validation: Validation, sample: Sample) -> tuple[float, float]:
    """False positive rate and sensitivity of the released decision."""
    positive = decide(sample.probabilities, validation.model.facts.threshold) == 1
    return float(positive[sample.labels == 0].mean()), float(positive[sample.labels == 1].mean())
