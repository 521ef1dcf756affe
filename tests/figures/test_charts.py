"""Charts draw the numbers they were given, at the place and in the colour that their texts say."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from cxr.figures import charts
from cxr.figures.charts import ReliabilityDiagram, SeverityCurve
from cxr.figures.style import COLOURS, MARKED, PLAIN, SERIES
from tests.pictures import recorded


def test_reliability_diagrams_have_points_intervals_and_histograms(tmp_path):
    def diagram(shift: float) -> ReliabilityDiagram:
        probability = np.array([0.1, 0.5, 0.9]) - shift
        observed, low, high = np.array([0.2, 0.4, 0.8]), np.array([0.15, 0.3, 0.5]), np.array([0.3, 0.6, 0.9])
        counts = np.array([7, 8, 9])
        return ReliabilityDiagram(f"by {shift}", probability, observed, low, high, counts, 15, probability)

    with recorded() as saved:
        diagrams = [diagram(0), diagram(0.05)]
        charts.reliability_diagrams(tmp_path / "r.png", diagrams, "Title", ("predicted", "observed"))
    panels = saved["r.png"].panels
    assert (panels[0].ax.get_ylabel(), panels[2].ax.get_xlabel()) == ("observed", "predicted")
    for given, upper, lower in zip(diagrams, panels[:2], panels[2:], strict=True):
        assert upper.title == given.title
        diagonal, points = upper.ax.lines[:2]
        np.testing.assert_allclose(diagonal.get_xydata(), [[0, 0], [1, 1]])
        np.testing.assert_allclose(points.get_xydata(), np.stack([given.probability, given.observed], axis=1))
        ((_, _, (bars,)),) = upper.ax.containers
        for segment, x, low, high in zip(
            bars.get_segments(), given.probability, given.low, given.high, strict=True
        ):
            np.testing.assert_allclose(segment, [[x, low], [x, high]])
        assert upper.ax.texts[0].get_text() == "3 of 15 bins of 7 to 9 radiographs"
        heights = [bar.get_height() for bar in lower.ax.patches]
        assert heights == np.histogram(given.probabilities, 20, (0, 1))[0].tolist()


def test_subgroups_are_on_the_line_of_their_name(tmp_path):
    def row(accuracy: float, p: float) -> dict[str, float]:
        return {
            "images": 40,
            "errors": round(40 * (1 - accuracy)),
            "accuracy": accuracy,
            "low": accuracy - 0.2,
            "high": accuracy + 0.05,
            "p": p,
        }

    subgroups = {"class": {"normal": row(0.7, 0.01), "sick": row(0.9, 1)}, "contrast": {"low": row(0.8, 0.2)}}
    with recorded() as saved:
        charts.subgroup_table(tmp_path / "s.png", subgroups, 0.85, "Title")
    (panel,) = saved["s.png"].panels
    assert [label.get_text() for label in panel.ax.get_yticklabels()] == [
        "class: normal",
        "class: sick",
        "contrast: low",
    ]
    overall, *lines = panel.ax.lines
    assert set(overall.get_xdata()) == {0.85}
    given = [entry for names in subgroups.values() for entry in names.values()]
    for number, (entry, interval, point) in enumerate(zip(given, lines[::2], lines[1::2], strict=True)):
        np.testing.assert_allclose(interval.get_xydata(), [[entry["low"], number], [entry["high"], number]])
        np.testing.assert_allclose(point.get_xydata(), [[entry["accuracy"], number]])
        expected = MARKED if entry["p"] < 0.05 else PLAIN
        assert interval.get_color() == point.get_color() == expected
        assert panel.ax.texts[number].get_text() == f"{entry['errors']} of 40 misclassified"
        assert panel.ax.texts[number].xy[1] == number


def test_class_counts_have_one_colour_for_a_class_and_sum_to_a_whole(tmp_path):
    counts = {"train": {"normal": 30, "sick": 90}, "test": {"sick": 5, "normal": 15}}
    with recorded() as saved:
        charts.class_counts(tmp_path / "c.png", counts, "Title")
    for panel, (split, of_split) in zip(saved["c.png"].panels, counts.items(), strict=True):
        assert panel.title == f"{split}: {sum(of_split.values())}"
        bars = {
            label.get_text(): bar
            for label, bar in zip(panel.ax.get_yticklabels(), panel.ax.patches, strict=True)
        }
        assert {name: bar.get_width() for name, bar in bars.items()} == of_split
        colours = {name: to_hex(bar.get_facecolor()).upper() for name, bar in bars.items()}
        assert colours == {"normal": COLOURS[0], "sick": COLOURS[1]}
        shares = [f"{n} ({n / sum(of_split.values()):.0%})" for n in of_split.values()]
        assert [text.get_text() for text in panel.ax.texts] == shares


def test_intensity_is_the_proportion_of_pixels_of_the_split(tmp_path):
    levels = {"normal": {"train": np.zeros(256), "test": np.zeros(256)}}
    levels["normal"]["train"][[0, 7, 8]] = (2, 4, 2)
    levels["normal"]["test"][255] = 10
    with recorded() as saved:
        charts.intensity(tmp_path / "i.png", levels, "Title")
    (panel,) = saved["i.png"].panels
    train, test = panel.ax.patches
    assert (train.get_label(), test.get_label()) == ("train", "test")
    assert [to_hex(step.get_edgecolor()).upper() for step in (train, test)] == list(SERIES[:2])
    assert train.get_data().values[:3].tolist() == [0.75, 0.25, 0]
    assert test.get_data().values[-1] == 1
    assert train.get_data().edges.tolist() == list(range(0, 257, 8))


def test_severity_curves_have_their_band_and_the_reference(tmp_path):
    values = np.array([0.1, 0.2, 0.3, 0.35, 0.4])
    curves = [
        SeverityCurve("noise", values, values - 0.05, values + 0.1, PLAIN),
        SeverityCurve("blur", values / 2, values / 4, values, MARKED),
    ]
    with recorded() as saved:
        charts.severity_curves(tmp_path / "v.png", curves, 0.08, "Title")
    for curve in curves:
        panel = saved["v.png"].titled(curve.title)
        reference, line = panel.ax.lines
        assert set(reference.get_ydata()) == {0.08}
        np.testing.assert_allclose(line.get_xydata(), np.stack([range(1, 6), curve.values], axis=1))
        assert line.get_color() == curve.colour
        (band,) = panel.ax.collections
        assert to_hex(band.get_facecolor()).upper() == curve.colour
        (path,) = band.get_paths()
        for x, low, high in zip(range(1, 6), curve.low, curve.high, strict=True):
            y = path.vertices[path.vertices[:, 0] == x, 1]
            assert (y.min(), y.max()) == pytest.approx((low, high))


def test_projection_is_on_the_axes_of_largest_variance(tmp_path):
    points = np.random.default_rng(0).normal(size=(50, 4)) * (1, 10, 0.1, 4)
    names = np.array(["a", "b"])[np.arange(50) % 2]
    with recorded() as saved:
        charts.projection(tmp_path / "p.png", points, names, ["b", "a"])
    (panel,) = saved["p.png"].panels
    variance = points.var(axis=0) / points.var(axis=0).sum()
    assert f"({variance[1]:.0%} of variance)" in panel.ax.get_xlabel()
    assert f"({variance[3]:.0%} of variance)" in panel.ax.get_ylabel()
    for dots, name, colour in zip(panel.ax.collections, "ba", COLOURS, strict=False):
        assert dots.get_label() == f"{name} (25)"
        assert to_hex(dots.get_facecolor()).upper() == colour
        x, y = np.abs(np.corrcoef(np.hstack([dots.get_offsets(), points[names == name]]).T))[:2, 2:]
        assert (x.argmax(), y.argmax()) == (1, 3)
