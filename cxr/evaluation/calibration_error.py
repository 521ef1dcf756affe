"""How far probabilities are from observed frequencies: both ECEs, what chance alone gives, calibration
intercept and slope, and an error without the bias of binning.

Intercept and slope (Cox, 1958; Van Calster et al., 2019, https://doi.org/10.1186/s12916-019-1466-7): the
intercept of a logistic regression of the event on the log-odds with a slope of 1 (0 is perfect; above 0
probabilities are too low), and the slope of one with both free (1 is perfect; below 1 probabilities are too
extreme, above 1 too cautious).

Debiased error (Kumar, Liang & Ma, 2019, https://arxiv.org/abs/1909.10155): the root mean squared difference
between mean probability and frequency in the bins of the ECE, less the part of its square that is sampling
variance; 0 if that is larger. Unlike ECE it does not grow as images become few; it does as patients become
fewer than images, for the sampling variance is that of independent images.
"""

import numpy as np

from cxr.core.probabilities import SMALLEST
from cxr.evaluation.reliability import bin_sums, calibration_error, ece_by_chance, events, one_per_patient
from cxr.evaluation.statistics import blocks, interval
from cxr.inference.prevalence import case_weights, class_prevalence, shifted

STEPS = 25  # of Newton's method, which needs about six


def calibration_report(
    labels: np.ndarray,
    probabilities: np.ndarray,
    stated: np.ndarray,
    resamples: int,
    patients: np.ndarray | None = None,
) -> dict[str, dict[str, dict[str, float]]]:
    """Under `as_they_are` over the images as they are, under `at_prevalence` weighted to the class
    prevalences `stated`, (classes,), to which the probabilities refer: `ece`, `debiased`, `intercept` and
    `slope`, each with `value`, `low` and `high` (95 % interval over `resamples` bootstrap samples within each
    class, of patients where they are known), and for `ece` its `chance` and `chance_high` (`by_chance`).

    labels: (N,) int. probabilities: (N, classes). patients: see `statistics.blocks`.
    """
    probability, event = events(labels, probabilities)
    report = {}
    for name, weighting in (("as_they_are", None), ("at_prevalence", stated)):
        weights = np.ones(len(labels)) if weighting is None else case_weights(labels, weighting)
        values = _measures(probability, event, weights[None])
        drawn = [
            _measures(probability, event, counts * weights)
            for counts in blocks(labels, resamples, patients=patients)
        ]
        report[name] = {
            key: {
                "value": float(value[0]),
                **interval(key, float(value[0]), np.concatenate([block[key] for block in drawn])),
            }
            for key, value in values.items()
        }
        report[name]["ece"] |= by_chance(labels, probabilities, stated, resamples, weighting, patients)
    return report


def by_chance(
    labels: np.ndarray,
    probabilities: np.ndarray,
    stated: np.ndarray,
    resamples: int,
    weighting: np.ndarray | None,
    patients: np.ndarray | None = None,
) -> dict[str, float]:
    """The ECE that a perfectly calibrated classifier with these probabilities would have on as many images:
    its mean `chance`, and `chance_high`, which 95 % of the draws stay below.

    Events are drawn from the probabilities (consistency resampling: Bröcker & Smith, 2007,
    https://doi.org/10.1175/WAF993.1): where images are weighted, labels from the probabilities at the
    prevalence of these images, then weighted as the images are; with one random number for all images of a
    patient, as if these were equal.
    """
    if weighting is None:
        found = ece_by_chance(labels, probabilities, resamples, patients)
        return {"chance": found["mean"], "chance_high": found["high"]}
    generator, classes = np.random.default_rng(0), probabilities.shape[1]
    probability, _ = events(labels, probabilities)
    # A split without images of a class has no prevalence to adjust to or from.
    here = shifted(probabilities, stated, np.maximum(class_prevalence(labels, classes), SMALLEST))
    persons = one_per_patient(len(labels), patients)
    count, drawn = persons.max() + 1, []
    for _ in range(resamples):
        truth = (generator.random((count, 1))[persons] > here.cumsum(axis=1)[:, :-1]).sum(axis=1)
        if len(np.unique(truth)) == classes:
            event, weights = events(truth, probabilities)[1], case_weights(truth, weighting)
            drawn.append(calibration_error(probability, event, weights[None])[0])
    if not drawn:  # so few images that no draw has all classes
        return {}
    return {"chance": float(np.mean(drawn)), "chance_high": float(np.percentile(drawn, 95))}


def _measures(probability: np.ndarray, event: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    intercept, slope = recalibration(probability, event, weights)
    return {
        "ece": calibration_error(probability, event, weights),
        "debiased": debiased_error(probability, event, weights),
        "intercept": intercept,
        "slope": slope,
    }


def debiased_error(probability: np.ndarray, event: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) float64, 0 to 1. probability: (N,), event: (N,) bool, weights: (R, N) of the images."""
    total = weights.sum(axis=1, keepdims=True)
    mass, positive, expected, squares = bin_sums(
        probability, weights, np.stack([np.ones_like(probability), event, probability]), weights**2
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        frequency, mean = positive / mass, expected / mass
        # The variance of a weighted frequency, with Kish's effective number of images less one.
        variance = frequency * (1 - frequency) / np.maximum(mass**2 / squares - 1, 1)
        excess = np.nan_to_num((frequency - mean) ** 2 - variance)
    return np.sqrt(np.maximum((mass / total * excess).sum(axis=1), 0))


def recalibration(
    probability: np.ndarray, event: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Calibration intercept and slope, (R,) float64 each, by Newton's method for all rows of `weights`,
    (R, N), at once. If the log-odds separate the events perfectly there is no slope; it is then that after
    `STEPS`."""
    clipped = np.clip(probability, SMALLEST, 1 - SMALLEST)
    odds = np.log(clipped) - np.log1p(-clipped)
    intercept = np.zeros(len(weights))
    for _ in range(STEPS):
        p = _sigmoid(intercept[:, None] + odds)
        step = (weights * (event - p)).sum(axis=1) / np.maximum((weights * p * (1 - p)).sum(axis=1), SMALLEST)
        intercept += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    a, b = np.zeros(len(weights)), np.ones(len(weights))
    for _ in range(STEPS):
        p = _sigmoid(a[:, None] + b[:, None] * odds)
        residual, spread = weights * (event - p), weights * p * (1 - p)
        g0, g1 = residual.sum(axis=1), residual @ odds
        h00, h01, h11 = spread.sum(axis=1), spread @ odds, spread @ odds**2
        determinant = np.maximum(h00 * h11 - h01**2, SMALLEST)
        step_a, step_b = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
        a += np.clip(step_a, -2, 2)
        b += np.clip(step_b, -2, 2)
        if max(np.abs(step_a).max(), np.abs(step_b).max()) < 1e-10:
            break
    return intercept, b


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))
