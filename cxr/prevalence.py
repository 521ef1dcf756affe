"""Which share of each class a classifier's probabilities take for granted, and how to state another.

A network learns the classes' shares of its training with the films. Where they are other, its probability of
class c is off by the factor prevalence_c / prior_c, before all are brought to sum 1 (Saerens et al., 2002,
https://doi.org/10.1162/089976602753284446). The new prevalence is declared, never estimated from test.
"""

import numpy as np

from cxr.errors import UserError
from cxr.imbalance import Targets


def shares(labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) float64. labels: (n,) int of the training films."""
    return np.bincount(labels, minlength=classes) / len(labels)


def learnt_prior(targets: Targets, classes: int) -> np.ndarray:
    """(classes,) float64: the shares that a network trained on `targets` takes for granted.

    Weights, sampling and logit adjustment change how much each film counts; sub-classes are summed.
    """
    drawn = np.ones(len(targets.labels)) if targets.sampling is None else targets.sampling
    counts = np.bincount(targets.labels, drawn, minlength=len(targets.outputs)) * targets.weights
    # What is added to the logits in training is missing afterwards.
    counts = counts / np.exp(targets.offsets)
    of_class = np.bincount(targets.classes, counts, minlength=classes)
    return of_class / of_class.sum()


def declared(setting: str | float, train: np.ndarray) -> np.ndarray:
    """(classes,) float64. setting: `calibrate.prevalence`; train: (classes,) shares of the training films.

    Raises `UserError` if one number is to stand for three classes or more.
    """
    if setting == "train":
        return train
    if setting == "uniform":
        return np.full(len(train), 1 / len(train))
    if len(train) != 2:
        raise UserError(
            f"params.yaml: calibrate.prevalence is {setting}, one number for {len(train)} classes; set it to "
            "uniform or train"
        )
    return np.array([1 - float(setting), float(setting)])
