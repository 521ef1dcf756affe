"""Three equal images of each patient tell no more than one: no interval or p-value becomes narrower by them.

Where patients are unknown the same images count as three times as many, as they did before patients were
taken into account: the second test shows that each measure would notice.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cxr.commands.validate.measurement import Sample, measure_sample
from cxr.embeddings.retrieval import retrieval_report
from cxr.evaluation.calibration_error import calibration_report
from cxr.evaluation.classification import classification_report
from cxr.evaluation.clinical import clinical_reading
from cxr.evaluation.curves import one_vs_rest
from cxr.evaluation.details import flagged
from cxr.evaluation.diagnostic_accuracy import diagnostic_accuracy
from cxr.evaluation.metrics import delong, summarise
from cxr.evaluation.pointing import pointing
from cxr.evaluation.reliability import calibration_scores, ece_by_chance, reliability_curve
from cxr.evaluation.robustness import balanced_errors, mean_errors
from cxr.evaluation.statistics import effective_cases
from cxr.evaluation.subgroups import measure_subgroups
from cxr.inference.predictions import Predictions
from cxr.inference.typicality import PARTS
from tests.builders import drawn_predictions

COPIES, R = 3, 200
UNIFORM = np.array([0.5, 0.5])
ONCE = drawn_predictions([1.0, 1.1], images=360).of("test")


def copied(split: Predictions) -> Predictions:
    """Each image three times, with the number of its patient."""
    rows = np.repeat(np.arange(len(split.labels)), COPIES)
    return replace(split.at(rows), patients=rows)


def clinical(split: Predictions) -> Any:
    reading = clinical_reading(split, split, 0.5, UNIFORM)
    return {name: reading[name] for name in ("likelihood_ratios", "predictive_values", "fixed")}


def of_subgroups(split: Predictions) -> Any:
    names = np.where(split.ensemble[:, 0] > np.median(ONCE.ensemble[:, 0]), "high", "low")
    found = measure_subgroups(decisions(split) == split.labels, {"group": names}, split.patients)["group"]
    return [[row[key] for key in ("accuracy", "low", "high", "p")] for row in found.values()]


def decisions(split: Predictions) -> np.ndarray:
    return split.ensemble.argmax(axis=1)


def of_retrieval(split: Predictions) -> Any:
    found = np.stack([decisions(split), split.labels, decisions(split)], axis=1)
    available = np.full((2, 2), 100)
    return retrieval_report(found, split.labels, available, split.classes, R, split.patients)["overall"]


def games(split: Predictions) -> Any:
    masks = np.zeros((len(split.labels), 8, 8), bool)
    masks[:, 2:5, 3:6] = True
    maps = np.zeros(masks.shape, np.float32)
    maps[:, 3, 4] = split.ensemble[:, 0]
    maps[:, 7, 7] = split.ensemble[:, 1]
    found = pointing(maps, masks, R, split.patients)
    return [[found[game][key] for key in ("value", "low", "high")] for game in ("hit", "energy")]


def robust(split: Predictions) -> Any:
    conditions = np.stack([split.ensemble, split.ensemble**0.5, split.members[0]])
    errors = balanced_errors(split.labels, conditions, R, 0.4, split.patients)
    return mean_errors(errors[:, 0], [errors[:, 1:]])


def bands(split: Predictions) -> Any:
    curves = one_vs_rest(split.labels, split.ensemble, 1, R, split.patients)
    return [[band.low, band.high] for band in (curves.roc, curves.precision_recall)]


def validated(split: Predictions) -> Any:
    sample = Sample(split.classes, split.labels, split.ensemble, split.patients)
    return [bounded[:3] for bounded in measure_sample(sample, 0.4, [0.5, 0.5]).values()]


MEASURES: dict[str, Callable[[Predictions], Any]] = {
    "validate": validated,
    "headline": lambda split: summarise(split, 0.4, R).headline(),
    "delong": delong,
    "classification_report": lambda split: [
        [row[key] for key in ("precision", "recall", "f1")]
        for row in classification_report(split, 0.4, R)["per_class"].values()
    ],
    "areas": lambda split: one_vs_rest(split.labels, split.ensemble, 1, R, split.patients).areas,
    "bands": bands,
    "diagnostic_accuracy": lambda split: [
        value
        for name, value in diagnostic_accuracy(split.labels, decisions(split), 0.2, split.patients).items()
        if name != "confusion"
    ],
    "clinical": clinical,
    "unlike": lambda split: flagged(split.ensemble[:, [0] * (1 + len(PARTS))], split)["unlike"],
    "calibration_scores": lambda split: calibration_scores(
        split.labels, split.ensemble, R, UNIFORM, split.patients
    ),
    "calibration_report": lambda split: [
        [of[key] for key in ("ece", "intercept", "slope")]  # not the debiased error, as its docstring says
        for of in calibration_report(split.labels, split.ensemble, UNIFORM, R, split.patients).values()
    ],
    "chance": lambda split: ece_by_chance(split.labels, split.ensemble, R, split.patients),
    "reliability_curve": lambda split: [
        getattr(reliability_curve(split.labels, split.ensemble, UNIFORM, split.patients), end)
        for end in ("low", "high")
    ],
    "subgroups": of_subgroups,
    "retrieval": of_retrieval,
    "pointing": games,
    "robustness": robust,
}


def numbers(content: Any) -> list[float]:
    """All numbers in nested dictionaries, lists and arrays, in their order."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list | tuple | np.ndarray):
        return [number for part in content for number in numbers(part)]
    return [float(content)] if isinstance(content, float | int) else []


@pytest.mark.parametrize("name", MEASURES)
def test_copies_of_the_images_of_patients_change_nothing(name: str) -> None:
    assert numbers(MEASURES[name](copied(ONCE))) == pytest.approx(numbers(MEASURES[name](ONCE)), rel=1e-6)


@pytest.mark.parametrize("name", MEASURES)
def test_copies_of_unknown_patients_would(name: str) -> None:
    unknown = replace(copied(ONCE), patients=None)
    assert numbers(MEASURES[name](unknown)) != pytest.approx(numbers(MEASURES[name](ONCE)), rel=1e-3)


def test_effective_cases_are_between_patients_and_images() -> None:
    everything = np.ones(4, bool)
    assert effective_cases(everything, None) == 4
    assert effective_cases(everything, np.array([5, 6, 7, 8])) == 4
    assert effective_cases(everything, np.array([0, 0, 1, 1])) == 2
    assert effective_cases(everything, np.array([0, 0, 0, 1])) == pytest.approx(1.6)
    assert effective_cases(np.array([True, False, True, False]), np.array([0, 0, 1, 1])) == 2
    assert effective_cases(~everything, np.array([0, 0, 1, 1])) == 0
