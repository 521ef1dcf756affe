"""What stands in a confusion matrix and in a learning curve, whatever the number of classes and members."""

import numpy as np
import pytest

from cxr.figures import evaluation
from cxr.figures.evaluation import LearningCurve, confusion_matrix, learning_curves


@pytest.fixture
def drawn(monkeypatch):
    """The figures instead of files."""
    figures = []
    monkeypatch.setattr(evaluation, "save_figure", lambda figure, path: figures.append(figure))
    return figures


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_confusion_matrix_has_counts_and_row_shares(drawn, classes):
    table = np.arange(classes**2).reshape(classes, classes) * 400
    table[-1] = 0  # a class without images
    confusion_matrix("x.png", table, [f"class {i}" for i in range(classes)], "Title")
    texts = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in drawn[0].axes[0].texts}
    assert len(texts) == classes**2
    for (row, column), count in np.ndenumerate(table):
        share = count / table[row].sum() if table[row].any() else 0
        assert texts[row, column] == f"{count:,}\n{share:.1%}"
    ticks = [tick.get_text() for tick in drawn[0].axes[0].get_yticklabels()]
    assert ticks[0] == f"class 0\n({table[0].sum():,})"


def test_released_epoch_of_each_member_is_marked(drawn):
    values = np.array([[0.9, 0.5, 0.7], [0.8, 0.6, np.nan]])
    learning_curves(
        "x.png", {"log loss": [LearningCurve("val", "#000000", values)]}, np.array([1, 0]), "Title"
    )
    lines = drawn[0].axes[0].get_lines()
    *members, mean, marks = lines
    assert [line.get_ydata().tolist()[:2] for line in members] == [[0.9, 0.5], [0.8, 0.6]]
    assert mean.get_ydata()[:2] == pytest.approx([0.85, 0.55])
    assert np.isnan(mean.get_ydata()[2])
    assert list(zip(marks.get_xdata(), marks.get_ydata(), strict=True)) == [(2, 0.5), (1, 0.8)]
