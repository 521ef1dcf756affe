"""The same predictions calibrated in three ways, all at one prevalence, so that they can be compared."""

import numpy as np

from cxr import platt
from cxr.calibration import Calibration
from cxr.predictions import Predictions
from cxr.prevalence import shares, shifted


def methods(published: Predictions, shipped: Calibration, prevalence: np.ndarray) -> dict[str, np.ndarray]:
    """(N, classes) float64 probabilities of the ensemble for all films of `published`, val and test.

    before: at temperature 1. temperature: as shipped. platt: `cxr.platt`, fitted on val. All refer to
    `prevalence`, (classes,), the shares that the shipped ones refer to: what training has taught about the
    classes' shares is taken out before, too, and Platt's are moved from val's shares.
    """
    raw = shipped.undo(published.ensemble)
    val = published.splits == "val"
    labels = published.labels[val]
    fitted = platt.apply(platt.fit(raw[val], labels), raw)
    return {
        "before": Calibration(1.0, None, shipped.prior, shipped.prevalence)(raw),
        "temperature": published.ensemble,
        "platt": shifted(fitted, shares(labels, len(prevalence)), prevalence),
    }
