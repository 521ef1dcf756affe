"""Which weights are released, epoch by epoch on invented measures."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from torch import nn

from cxr.training.selection import Measures, Selection, measure_epoch

# (nll, auc, accuracy) of five epochs; each is best in another one, and the last in none.
EPOCHS = [(0.50, 0.90, 0.80), (0.30, 0.92, 0.85), (0.40, 0.95, 0.85), (0.45, 0.95, 0.90), (0.60, 0.93, 0.90)]


def offered(rule, epochs=EPOCHS):
    selection, module = Selection(rule), nn.Linear(1, 1)
    for number, values in enumerate(epochs):
        with torch.no_grad():
            module.weight.fill_(number)
        selection.offer(module, Measures(*values), number)
    return selection


@pytest.mark.parametrize(
    ("rule", "epoch", "score"),
    [
        ("last", 4, -0.6),
        ("ema", 4, -0.6),
        ("val_nll", 1, -0.3),
        ("val_auc", 2, 0.95),
        ("val_accuracy", 3, 0.9),
    ],
)
def test_rule_keeps_its_epoch(rule, epoch, score):
    selection = offered(rule)
    assert float(selection.state["weight"]) == epoch  # a copy: the module has moved on
    assert selection.epoch == epoch
    assert selection.score == score


def test_training_stops_after_patience_epochs_without_improvement():
    nlls = [0.5, 0.4, 0.45, 0.4, 0.41, 0.3, 0.35]
    stale = [offered("last", [(nll, 0.9, 0.9) for nll in nlls[: n + 1]]).stale for n in range(len(nlls))]
    assert stale == [0, 0, 1, 2, 3, 0, 1]
    selection = offered("last", [(nll, 0.9, 0.9) for nll in nlls[:5]])
    assert selection.exhausted(3)
    assert not selection.exhausted(4)
    assert not selection.exhausted(0)


@pytest.mark.parametrize("rule", ["last", "val_auc"])
def test_selection_continues_from_its_state(rule):
    half, whole = offered(rule, EPOCHS[:3]), offered(rule)
    again, module = Selection(rule), nn.Linear(1, 1)
    again.load_state_dict(half.state_dict())
    for number in (3, 4):
        with torch.no_grad():
            module.weight.fill_(number)
        again.offer(module, Measures(*EPOCHS[number]), number)
    assert (again.score, again.best, again.stale) == (whole.score, whole.best, whole.stale)
    assert torch.equal(again.state["weight"], whole.state["weight"])


@pytest.mark.parametrize("classes", [2, 3])
def test_measures_are_scikit_learns(classes):
    generator = np.random.default_rng(0)
    labels = np.arange(60) % classes
    p = generator.dirichlet(np.ones(classes), 60) * 0.5 + np.eye(classes)[labels] * 0.5 * generator.random(
        (60, 1)
    )
    p /= p.sum(axis=1, keepdims=True)
    measures = measure_epoch(p, labels)
    assert measures.nll == pytest.approx(log_loss(labels, p))
    auc = roc_auc_score(labels, p[:, 1]) if classes == 2 else roc_auc_score(labels, p, multi_class="ovr")
    assert measures.auc == pytest.approx(auc)
    assert measures.accuracy == accuracy_score(labels, p.argmax(axis=1))
