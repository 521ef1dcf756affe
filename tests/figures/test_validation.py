"""The figures of `cxr validate` show the points and the numbers they were given."""

import numpy as np

from cxr.figures.validation import RocCurve, class_histograms, roc_curves
from tests.pictures import recorded


def test_roc_curve_and_decision(tmp_path):
    false_positive, true_positive = np.array([0, 0.1, 1]), np.array([0, 0.7, 1])
    curves = [
        RocCurve("here", false_positive, true_positive, (0.1, 0.7), "#000000"),
        RocCurve("on test", false_positive / 2, true_positive, None, "#999999"),
    ]
    with recorded() as saved:
        roc_curves(tmp_path / "roc.png", curves)
    (panel,) = saved["roc.png"].panels
    lines = {line.get_label(): line.get_xydata() for line in panel.ax.lines[1:]}
    assert list(lines) == ["here", "decision here", "on test"]
    np.testing.assert_allclose(lines["here"], np.stack([false_positive, true_positive], axis=1))
    np.testing.assert_allclose(lines["decision here"], [[0.1, 0.7]])
    np.testing.assert_allclose(lines["on test"][:, 0], false_positive / 2)
    assert (panel.ax.get_xlabel(), panel.ax.get_ylabel()) == (
        "1 - specificity (false positive rate)",
        "sensitivity",
    )


def test_histograms_of_each_class_and_the_threshold(tmp_path):
    values = {"normal": np.array([0.01, 0.02, 0.42]), "sick": np.array([0.97, 0.98])}
    with recorded() as saved:
        class_histograms(tmp_path / "histogram.png", values, "probability", 0.3)
    for panel, (name, of_class) in zip(saved["histogram.png"].panels, values.items(), strict=True):
        assert panel.title == f"{name} ({len(of_class)})"
        counts = [bar.get_height() for bar in panel.ax.patches]
        assert counts == np.histogram(of_class, 20, (0, 1))[0].tolist()
        (line,) = panel.ax.lines
        assert set(line.get_xdata()) == {0.3}
