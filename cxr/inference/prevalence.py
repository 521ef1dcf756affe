"""The prevalence of each class to which probabilities refer, and their adjustment to another one.

A network learns the class prevalence of its training images, its prior. Where the prevalence differs, its
probability of class c is adjusted by the factor prevalence_c / prior_c, before all are normalised to sum 1
(Saerens et al., 2002, https://doi.org/10.1162/089976602753284446). The new prevalence is stated by the user,
never estimated from test.
"""

import numpy as np

from cxr.core.errors import UserError


def class_prevalence(labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) float64, the proportion of each class. labels: (n,) int, at least one."""
    return np.bincount(labels, minlength=classes) / len(labels)


def declared(setting: str | float, train: np.ndarray, key: str) -> np.ndarray:
    """The prevalence of each class, (classes,) float64, that params.yaml states. setting: the value of `key`,
    `calibrate.prevalence` or `evaluate.prevalence`. train: (classes,) prevalence in the training images.

    Raises `UserError` if it is one number and there are three classes or more.
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
    """(..., classes) float64: `probabilities` at the prevalence `prior`, adjusted to `prevalence`. Both are
    (classes,) float, above 0."""
    joint = probabilities * (prevalence / prior)
    return joint / joint.sum(axis=-1, keepdims=True)


def case_weights(labels: np.ndarray, prevalence: np.ndarray) -> np.ndarray:
    """(N,) float64 with sum N: the weights of images by which each class has its `prevalence`, (classes,).

    labels: (N,) int, at least one image of each class.
    """
    return (prevalence / class_prevalence(labels, len(prevalence)))[labels]
