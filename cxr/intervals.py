"""95 % intervals in closed form: of a proportion, and of a predictive value at a declared prevalence."""

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

Z = float(norm.ppf(0.975))


def wilson(share: np.ndarray | float, count: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """The ends of Wilson's score interval (1927, https://doi.org/10.1080/01621459.1927.10502953).

    share: (...) float, 0 to 1, found in `count` cases, above 0. It stays inside [0, 1] and has a width at a
    share of 0 or 1, where a bootstrap has none (Brown, Cai & DasGupta, 2001,
    https://doi.org/10.1214/ss/1009213286).
    """
    share, count = np.asarray(share, np.float64), np.asarray(count, np.float64)
    centre = share + Z**2 / (2 * count)
    half = Z * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    low, high = (np.clip((centre + side) / (1 + Z**2 / count), 0, 1) for side in (-half, half))
    return np.where(share == 0, 0.0, low), np.where(share == 1, 1.0, high)


def predictive_value(
    right: int, cases: int, wrong: int, others: int, prevalence: float
) -> tuple[float, float, float] | None:
    """A predictive value where `prevalence` (above 0 and below 1) of the films are cases: value, low, high.

    By Bayes' theorem, if `right` of `cases` films and `wrong` of `others` are given the answer in question.
    For the positive one cases are the ill, for the negative one the healthy. None if no film is given it.
    Logit interval for a study in which the number of each kind was fixed: Mercaldo, Lau & Zhou, 2007,
    https://doi.org/10.1002/sim.2677; with its adjusted counts where one of them is 0, as R's package bdpv.
    """
    if not right and not wrong:
        return None

    def log_odds(hit: float, alarm: float) -> float:
        return float(logit(prevalence) + np.log(hit) - np.log(alarm))

    empty = 0 in (right, wrong, cases - right, others - wrong)
    extra = Z**2 / 2 if empty else 0.0
    hit, alarm = (right + extra) / (cases + 2 * extra), (wrong + extra) / (others + 2 * extra)
    variance = (1 - hit) / (right + extra) + (1 - alarm) / (wrong + extra)
    half = Z * np.sqrt(variance)
    low, high = (float(expit(log_odds(hit, alarm) + side)) for side in (-half, half))
    joint = prevalence * right / cases
    value = joint / (joint + (1 - prevalence) * wrong / others)
    # Adjusted counts draw the interval inwards; it still holds what was found.
    return value, min(low, value), max(high, value)


def holm(p: list[float]) -> list[float]:
    """p-values adjusted for being several (Holm, 1979), in the order given."""
    order = np.argsort(p)
    stepped = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(stepped).clip(max=1)
    return adjusted.tolist()
