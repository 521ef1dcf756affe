"""Which share of each class a classifier's probabilities take for granted, and how to state another.

A network learns the classes' shares of its training with the images. Where they are other, its probability of
class c is off by the factor prevalence_c / prior_c, before all are normalised to sum 1 (Saerens et al., 2002,
https://doi.org/10.1162/089976602753284446). The new prevalence is declared, never estimated from test.
"""

import numpy as np

from cxr.core.errors import UserError


def class_prevalence(labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) float64. labels: (n,) int."""
    return np.bincount(labels, minlength=classes) / len(labels)


def declared(setting: str | float, train: np.ndarray, key: str) -> np.ndarray:
    """(classes,) float64. setting: the value of `key` in params.yaml, `calibrate.prevalence` or
    `evaluate.prevalence`; train: (classes,) shares of the training images.

    Raises `UserError` if one number is to stand for three classes or more.
    """
    if setting == "train":
        return train
    if setting == "uniform":
        return np.full(len(train), 1 / len(train))
    if len(train) != 2:
        raise UserError(
            f"params.yaml: {key} is {setting}, one number for {len(train)} classes; set it to "
            "uniform or train"
        )
    return np.array([1 - float(setting), float(setting)])


def shifted(probabilities: np.ndarray, prior: np.ndarray, prevalence: np.ndarray) -> np.ndarray:
    """(..., classes) float64: `probabilities`, which refer to the classes' shares `prior`, as they are where
    the shares are `prevalence`. Both (classes,) float, above 0."""
    joint = probabilities * (prevalence / prior)
    return joint / joint.sum(axis=-1, keepdims=True)


def case_weights(labels: np.ndarray, prevalence: np.ndarray) -> np.ndarray:
    """(N,) float64, N in all: as much as an image must count for the classes to have the shares `prevalence`.

    labels: (N,) int, at least one image of each class.
    """
    return (prevalence / class_prevalence(labels, len(prevalence)))[labels]
