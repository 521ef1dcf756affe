"""Calibration of the ensemble's mean probability: temperature scaling and adjustment to a stated prevalence.

Temperature scaling: Guo et al., 2017, https://arxiv.org/abs/1706.04599, applied to the averaged probability
("pool, then calibrate": Rahaman & Thiery, 2021, https://arxiv.org/abs/2007.08792).
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from cxr.core.files import read_json, write_json
from cxr.core.outputs import missing_output
from cxr.core.probabilities import SMALLEST, nll

PATH = Path("models/calibration.json")
COLDEST = 0.25  # the lowest temperature that is fitted


@dataclass(frozen=True)
class Calibration:
    """temperature: above 0; above 1 it lowers the confidence. threshold: an image is positive at this
    probability or more; None for three classes or more, where the most probable class is the decision. prior:
    of each class the prevalence that training has taught the classifier to assume. prevalence: of each class
    the one to which the calibrated probabilities refer (see `cxr.inference.prevalence`); None for either: no
    adjustment. operating_points: thresholds by rule, of which `threshold` is one (see
    `cxr.inference.thresholds`); None as for `threshold`."""

    temperature: float
    threshold: float | None
    prior: list[float] | None = None
    prevalence: list[float] | None = None
    operating_points: dict[str, float] | None = None

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """(..., classes) float in, the same shape as float64 out: p ** (1 / temperature), times prevalence /
        prior, normalised to sum 1."""
        logits = np.log(np.clip(probabilities.astype(np.float64), SMALLEST, 1)) / self.temperature
        if self.prior and self.prevalence:
            logits += np.log(np.array(self.prevalence) / np.array(self.prior))
        scaled = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return scaled / scaled.sum(axis=-1, keepdims=True)

    def undo(self, probabilities: np.ndarray) -> np.ndarray:
        """(..., classes) float64: what `__call__` was given, from what it returned."""
        logits = np.log(np.clip(probabilities.astype(np.float64), np.finfo(np.float64).tiny, 1))
        if self.prior and self.prevalence:
            logits -= np.log(np.array(self.prevalence) / np.array(self.prior))
        logits *= self.temperature
        scaled = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return scaled / scaled.sum(axis=-1, keepdims=True)


def fit_temperature(
    probabilities: np.ndarray,
    labels: np.ndarray,
    prior: list[float] | None = None,
    prevalence: list[float] | None = None,
) -> float:
    """The temperature, `COLDEST` to 20, of the lowest log loss.

    probabilities: (N, classes) float, uncalibrated. labels: (N,) int. prior: as in `Calibration`. prevalence:
    of each class among these images.

    If all images are classified correctly, as of a few images they often are, the log loss falls without end
    as the temperature approaches 0, and every probability would become 0 or 1. At 0.25 one of .9 becomes
    .9998.
    """

    def loss(log_temperature: float) -> float:
        calibrate = Calibration(float(np.exp(log_temperature)), None, prior, prevalence)
        return nll(calibrate(probabilities), labels)

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(20)), method="bounded").x))


def save_calibration(calibration: Calibration) -> None:
    write_json(PATH, asdict(calibration))


def load_calibration() -> Calibration:
    """Raises `UserError` if the calibration has not been built."""
    if not PATH.is_file():
        raise missing_output(PATH, "calibration")
    return Calibration(**read_json(PATH))
