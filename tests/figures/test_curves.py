"""Panels of curves: one for each class, and the corner of a single ROC curve with a band."""

import numpy as np
import pytest

from cxr.figures import curves
from cxr.figures.curves import Curve, Panel, precision_recall_curves, roc_curves

X = np.linspace(0, 1, 5)


def panel(name: str, **parts) -> Panel:
    return Panel(name, [Curve(f"AUC of {name}", (X, X**0.2), "#0072B2", **parts)], (0, 1))


@pytest.fixture
def drawn(monkeypatch):
    """The figures instead of files."""
    figures = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def test_one_curve_has_its_corner_beside_it(drawn):
    roc_curves("x.png", [panel("a", band=(X, X, X**0.1), decision=(0.2, 0.9), members=[(X, X)] * 3)])
    whole, corner = drawn[0].axes
    assert corner.get_xlim()[1] == pytest.approx(0.3)
    assert corner.get_ylim()[0] == pytest.approx(0.7)
    for ax in (whole, corner):
        assert len(ax.collections) == 1  # the band
        assert [0.2] in [line.get_xdata() for line in ax.get_lines() if line.get_marker() == "o"]
    texts = [text.get_text() for text in whole.get_legend().get_texts()]
    assert texts == ["95 % interval at each point", "single networks (3)", "AUC of a", "released decision"]


def test_points_and_decision_are_drawn_where_they_are(drawn):
    roc_curves("x.png", [panel("a", decision=(0.2, 0.9))])
    lines = [line.get_xydata().tolist() for line in drawn[0].axes[0].get_lines()]
    assert np.stack([X, X**0.2], axis=1).tolist() in lines
    assert [[0.2, 0.9]] in lines


def test_curves_without_a_band_and_of_several_classes_have_no_corner(drawn):
    roc_curves("x.png", [Panel("", [Curve("here", (X, X), "k"), Curve("on test", (X, X), "0.5")], (0, 1))])
    roc_curves("x.png", [panel(name, band=(X, X, X)) for name in "abcd"])
    precision_recall_curves("x.png", [panel(name) for name in "ab"], "Title")
    assert [[ax.get_title() for ax in figure.axes if ax.axison] for figure in drawn] == [
        [""],
        ["a", "b", "c", "d"],
        ["a", "b"],
    ]
