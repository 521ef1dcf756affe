"""Two reasons why a metric would be another the next time: other seeds, and other films."""

import numpy as np

from cxr.bootstrap import interval
from cxr.contributions import auc, case_variance
from cxr.intervals import Z
from cxr.metrics import headline, resampled_headline
from cxr.predictions import Predictions


def spread(
    predictions: Predictions, threshold: float | None, resamples: int
) -> dict[str, dict[str, float | dict[str, float]]]:
    """For each headline metric, both kept apart:

    seeds_std: the standard deviation (n - 1) over members, trained alike but for the seed, on these films;
    left out if there is one member. It is that of a single member, an ensemble's is smaller.
    films_std, low, high: the standard deviation and the 95 % interval (`bootstrap.interval`) of the ensemble
    over `resamples` bootstrap samples of the films within each class; the training counts as given.
    delong (of the AUC): the same from DeLong's variance (`cxr.delong`), the interval symmetric and cut at 1;
    left out if a class has a single film.
    """
    labels, classes = predictions.labels, predictions.classes
    members = [headline(labels, p, classes, threshold) for p in predictions.members]
    found: dict[str, dict[str, float | dict[str, float]]] = {}
    ensemble = headline(labels, predictions.ensemble, classes, threshold)
    for name, samples in resampled_headline(predictions, threshold, resamples).items():
        found[name] = {"films_std": float(samples.std(ddof=1)), **interval(name, ensemble[name], samples)}
        if len(members) > 1:
            found[name]["seeds_std"] = float(np.std([member[name] for member in members], ddof=1))
    if np.bincount(labels).min() > 1:
        found["auc" if len(classes) == 2 else "auc_ovr_macro"]["delong"] = delong(predictions)
    return found


def delong(predictions: Predictions) -> dict[str, float]:
    """Of the ensemble's AUC, with more than two classes of the mean of one against the rest."""
    first = 1 if len(predictions.classes) == 2 else 0
    shown = np.arange(first, len(predictions.classes))
    found = auc(predictions.labels[:, None] == shown, predictions.ensemble[None, :, shown])
    std = float(np.sqrt(case_variance(found.films, predictions.labels)[0]))
    value = float(found.values[0])
    return {"films_std": std, "low": max(0.0, value - Z * std), "high": min(1.0, value + Z * std)}
