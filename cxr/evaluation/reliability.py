"""Calibration of probabilities: expected calibration error (ECE), Brier score, log loss, reliability diagram.

Images are sorted by probability and divided into BINS bins of equal mass; ECE is the mean over images of the
absolute difference between the mean probability and the observed frequency of the event in its bin. Guo et
al., 2017 (https://arxiv.org/abs/1706.04599), divide [0, 1] into 15 bins of equal width. Here five images in
six lie in the two outermost, and the others are mostly noise; bins of equal mass (Nixon et al., 2019,
https://arxiv.org/abs/1904.01685) estimate with less bias (Roelofs et al., 2022,
https://arxiv.org/abs/2012.08668). Images of equal probability are in one bin, so their order does not matter.

An ECE is never below 0, so chance makes it larger, the more so the fewer images there are: that of a
perfectly calibrated classifier is above 0, too (`ece_by_chance`).

**Which prevalence?** A probability refers to a class prevalence (`calibrate.prevalence`), and a split may
have another one (62.5 % of PneumoniaMNIST's test images are pneumonia). Then even perfect probabilities
differ from the observed frequencies in the split. So there are two values: over the images as they are, and
with a weight of prevalence_c / prevalence_c in the split for every image of class c
(`prevalence.case_weights`), so that the split has the prevalence to which the probabilities refer. Nothing is
fitted to the split's labels: they only give the prevalence in the split, and the other one is declared.
"""

from dataclasses import dataclass

import numpy as np

from cxr.core.probabilities import SMALLEST
from cxr.evaluation.statistics import blocks, interval, wilson
from cxr.inference.prevalence import case_weights

BINS = 15


def events(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) float64 probability of an event, and (N,) bool whether it was observed.

    labels: (N,) int, probabilities: (N, classes). With two classes the event is the second one, with more
    it is that the most probable class is the true one (top-label confidence).
    """
    if probabilities.shape[1] == 2:
        return probabilities[:, 1], labels == 1
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def calibration_error(probability: np.ndarray, observed: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) float64, 0 to 1: the ECE of each row of `weights`.

    probability: (N,) float, observed: (N,) bool, weights: (R, N) float, of the images.
    """
    order, starts, bins = _bins(probability, weights)
    excess = np.add.reduceat((weights * (observed - probability))[:, order], starts, axis=1)
    return np.abs(_sums(bins, excess)).sum(axis=1) / weights.sum(axis=1)


def bin_sums(
    probability: np.ndarray, weights: np.ndarray, values: np.ndarray, squares: np.ndarray
) -> np.ndarray:
    """(K + 1, R, BINS) float64: in each bin the sums of weights times each of `values`, and of `squares`.

    probability: (N,), weights, squares: (R, N), values: (K, N) float.
    """
    order, starts, bins = _bins(probability, weights)
    terms = [*(weights * value for value in values), squares]
    return np.stack([_sums(bins, np.add.reduceat(term[:, order], starts, axis=1)) for term in terms])


def scores(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """`ece`, `brier` and `nll`, (R,) float64 each, for each row of `weights`, (R, N) float.

    Brier score: with two classes the mean squared error of the positive probability, 0 to 1; with more the
    sum over classes, 0 to 2 (Brier, 1950).
    """
    classes = probabilities.shape[1]
    squares = ((probabilities - np.eye(classes)[labels]) ** 2).sum(axis=1) / (2 if classes == 2 else 1)
    losses = -np.log(np.clip(probabilities[np.arange(len(labels)), labels], SMALLEST, 1))
    total = weights.sum(axis=1)
    return {
        "ece": calibration_error(*events(labels, probabilities), weights),
        "brier": weights @ squares / total,
        "nll": weights @ losses / total,
    }


def calibration_scores(
    labels: np.ndarray,
    probabilities: np.ndarray,
    resamples: int,
    prevalence: np.ndarray | None = None,
    patients: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """`scores` over the images as they are, or weighted to the class prevalence `prevalence`, (classes,).

    Each has its `value`, and its 95 % interval `low` to `high` (`statistics.interval`) over `resamples`
    bootstrap samples of the images within each class, of patients where they are known (`statistics.blocks`).
    """
    weights = np.ones(len(labels)) if prevalence is None else case_weights(labels, prevalence)
    values = scores(labels, probabilities, weights[None])
    samples = [
        scores(labels, probabilities, counts * weights)
        for counts in blocks(labels, resamples, patients=patients)
    ]
    return {
        name: {
            "value": value.item(),
            **interval(name, value.item(), np.concatenate([block[name] for block in samples])),
        }
        for name, value in values.items()
    }


def ece_by_chance(
    labels: np.ndarray, probabilities: np.ndarray, resamples: int, patients: np.ndarray | None = None
) -> dict[str, float]:
    """The ECE that a perfectly calibrated classifier with these probabilities would have on as many images.

    Events are drawn from the probabilities (consistency resampling: Bröcker & Smith, 2007,
    https://doi.org/10.1175/WAF993.1), with one random number for all images of a patient (`one_per_patient`).
    Returns its `mean`, and `high`, which 95 % of the draws stay below.
    """
    probability, _ = events(labels, probabilities)
    generator, ones = np.random.default_rng(0), np.ones((1, len(labels)))
    persons = one_per_patient(len(labels), patients)
    count = persons.max() + 1
    drawn = [
        calibration_error(probability, generator.random(count)[persons] < probability, ones)[0]
        for _ in range(resamples)
    ]
    return {"mean": float(np.mean(drawn)), "high": float(np.percentile(drawn, 95))}


def one_per_patient(images: int, patients: np.ndarray | None) -> np.ndarray:
    """(images,) int64: the number of the patient of each image, from 0 to that of patients less one; of each
    image its own where `patients`, (images,) int, is None."""
    return np.arange(images) if patients is None else np.unique(patients, return_inverse=True)[1]


@dataclass(frozen=True)
class ReliabilityCurve:
    """A reliability diagram's points, one for each bin that is not empty, all (bins,) float64 but `images`.

    probability: the mean probability. observed: the frequency of the event, 0 to 1; low, high: its 95 %
    Wilson interval. images: (bins,) int. error: the ECE of these bins.
    """

    probability: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    images: np.ndarray
    error: float


def reliability_curve(
    labels: np.ndarray,
    probabilities: np.ndarray,
    prevalence: np.ndarray,
    patients: np.ndarray | None = None,
) -> ReliabilityCurve:
    """The diagram of images weighted to `prevalence`. The Wilson interval of a bin takes its effective number
    of cases (Kish, 1965: squared sum of the weights over the sum of their squares), where the weights of
    images of one patient add up. patients: (N,) int, None if unknown."""
    probability, event = events(labels, probabilities)
    weights = case_weights(labels, prevalence)[None]
    order, starts, bins = _bins(probability, weights)

    def sums(values: np.ndarray) -> np.ndarray:
        return _sums(bins, np.add.reduceat(values[:, order], starts, axis=1))[0]

    images = sums(np.ones_like(weights)).astype(int)
    used = images > 0
    mass = sums(weights)[used]
    observed = sums(weights * event)[used] / mass
    persons = one_per_patient(len(labels), patients)
    bin_of_each = np.repeat(bins[0], np.diff(starts, append=len(labels)))
    of_persons = np.zeros((BINS, persons.max() + 1))
    np.add.at(of_persons, (bin_of_each, persons[order]), weights[0, order])
    low, high = wilson(observed, mass**2 / (of_persons**2).sum(axis=1)[used])
    mean = sums(weights * probability)[used] / mass
    error = calibration_error(probability, event, weights)
    return ReliabilityCurve(mean, observed, low, high, images[used], float(error[0]))


def _bins(probability: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The images' order, (N,) int; where in it each of the G distinct probabilities starts, (G,) int; and
    the bin of each, (R, G) int: that in which the middle of its mass lies."""
    order = np.argsort(probability, kind="stable")
    starts = np.flatnonzero(np.diff(probability[order], prepend=-1))
    mass = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = mass.cumsum(axis=1) - mass / 2
    return order, starts, np.minimum((BINS * middle / mass.sum(axis=1, keepdims=True)).astype(int), BINS - 1)


def _sums(bins: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(R, BINS) float64: for each row the sum of its `values`, (R, G), in each bin."""
    cells = bins + BINS * np.arange(len(bins))[:, None]
    return np.bincount(cells.ravel(), values.ravel(), len(bins) * BINS).reshape(len(bins), BINS)
