"""The figures of `cxr validate` show the points and the numbers they were given."""

import numpy as np

from cxr.figures.validation import class_histograms
from tests.pictures import recorded


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
