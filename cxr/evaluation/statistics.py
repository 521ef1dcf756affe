"""Intervals and tests: stratified bootstrap, Wilson, predictive values at a declared prevalence, Holm.

Images of one patient are alike, so that they tell less than as many patients: with patients the bootstrap
draws these, and a formula that takes a number of images takes `effective_cases` instead.

The bootstrap's resamples, drawn with replacement within each class, are counts instead of copies of the
images, so that a metric that takes a weight for each image is computed for all of them at once (Efron &
Tibshirani, 1993).
"""

import math
from collections.abc import Iterator

import numpy as np

CELLS = 2_000_000  # counts in one block, 16 MB
# The 97.5th percentile of the standard normal distribution. Without SciPy, a third of the base layer's size.
Z = 1.959963984540054


def blocks(
    labels: np.ndarray, resamples: int, seed: int = 0, patients: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """(r, N) float64 blocks, of `resamples` rows together: how often each image is drawn.

    labels: (N,) int. Every class keeps its number of images, so that no resample is without a class. seed:
    another one for images whose resamples have to be independent of these. patients: (N,) int, equal for
    images of one patient: then patients are drawn, each with all images, as many as there are in each group
    of patients with images of the same classes (a patient may have images of several).
    """
    generator = np.random.default_rng(seed)
    if patients is None:
        codes, strata = np.arange(len(labels)), labels
    else:
        names, codes = np.unique(patients, return_inverse=True)
        classes = np.zeros((len(names), labels.max() + 1), bool)
        classes[codes, labels] = True
        strata = np.unique(~classes, axis=0, return_inverse=True)[1].ravel()  # class 0 first
    groups = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    drawn = np.concatenate([generator.choice(rows, (resamples, len(rows))) for rows in groups], axis=1)
    units = len(strata)
    for block in np.array_split(drawn, -(-resamples * len(labels) // CELLS)):
        cells = block + units * np.arange(len(block))[:, None]
        counts = np.bincount(cells.ravel(), minlength=block.shape[0] * units).reshape(-1, units)
        yield counts[:, codes].astype(np.float64)


def effective_cases(chosen: np.ndarray, patients: np.ndarray | None) -> float:
    """The number of independent cases that the `chosen` images, (N,) bool, amount to if those of one patient
    are equal: (sum of n)^2 / (sum of n^2) with n images of a patient (Kish, 1965), which is rather too few
    than too many. patients: (N,) int, None if unknown: then the number of images."""
    if patients is None or not chosen.any():
        return float(chosen.sum())
    counts = np.unique(patients[chosen], return_counts=True)[1]
    return float(counts.sum() ** 2 / (counts**2).sum())


def interval(name: str, value: float, samples: np.ndarray) -> dict[str, float]:
    """`low` and `high`, the 95 % percentile interval of the metric `name`, `value` on the images themselves.

    samples: (R,) float, its values on resamples. Those of `ece` are first shifted so that their mean is
    `value`: a resample is noisier than the images it is drawn from, and noise only increases this metric. The
    interval then covers the expected ECE of as many other images.
    """
    shifted = samples - (samples.mean() - value) if name == "ece" else samples
    low, high = np.percentile(shifted, [2.5, 97.5])
    return {"low": max(0.0, float(low)) if name == "ece" else float(low), "high": float(high)}


def wilson(proportion: np.ndarray | float, count: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """The ends of Wilson's score interval (1927, https://doi.org/10.1080/01621459.1927.10502953).

    proportion: (...) float, 0 to 1, of `count` cases, above 0. The interval stays inside [0, 1] and has a
    width at a proportion of 0 or 1, where a bootstrap has none (Brown, Cai & DasGupta, 2001,
    https://doi.org/10.1214/ss/1009213286).
    """
    proportion, count = np.asarray(proportion, np.float64), np.asarray(count, np.float64)
    centre = proportion + Z**2 / (2 * count)
    half = Z * np.sqrt(proportion * (1 - proportion) / count + Z**2 / (4 * count**2))
    low, high = (np.clip((centre + side) / (1 + Z**2 / count), 0, 1) for side in (-half, half))
    return np.where(proportion == 0, 0.0, low), np.where(proportion == 1, 1.0, high)


def predictive_value(
    right: float, cases: float, wrong: float, others: float, prevalence: float
) -> tuple[float, float, float] | None:
    """A predictive value at a `prevalence` (above 0 and below 1) of cases: value, low, high.

    By Bayes' theorem, if `right` of `cases` images and `wrong` of `others` have the decision in question. For
    the positive predictive value cases are the diseased, for the negative one the healthy. None if no image
    has it. Logit interval for a study in which the number of each kind was fixed: Mercaldo, Lau & Zhou, 2007,
    https://doi.org/10.1002/sim.2677; with its adjusted counts where one of them is 0, as R's package bdpv.
    """
    if not right and not wrong:
        return None

    def log_odds(hit: float, alarm: float) -> float:
        return math.log(prevalence / (1 - prevalence)) + math.log(hit) - math.log(alarm)

    empty = 0 in (right, wrong, cases - right, others - wrong)
    extra = Z**2 / 2 if empty else 0.0
    hit, alarm = (right + extra) / (cases + 2 * extra), (wrong + extra) / (others + 2 * extra)
    variance = (1 - hit) / (right + extra) + (1 - alarm) / (wrong + extra)
    half = Z * math.sqrt(variance)
    low, high = (1 / (1 + math.exp(-log_odds(hit, alarm) - side)) for side in (-half, half))
    joint = prevalence * right / cases
    value = joint / (joint + (1 - prevalence) * wrong / others)
    # Adjusted counts make the interval narrower; it has to contain the value still.
    return value, min(low, value), max(high, value)


def holm(p: list[float]) -> list[float]:
    """p-values adjusted for multiple comparisons (Holm, 1979), in the order given."""
    order = np.argsort(p)
    stepped = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(stepped).clip(max=1)
    return adjusted.tolist()
