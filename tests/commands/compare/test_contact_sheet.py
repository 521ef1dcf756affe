"""The contact sheet shows the radiographs with another decision and no others; radiographs of another data
set are an error."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.commands.compare import contact_sheet
from cxr.commands.compare.comparison import Comparison, compare_runs
from cxr.commands.compare.contact_sheet import draw_contact_sheet
from cxr.core import dataset
from cxr.core.files import read_csv
from cxr.inference.predictions import DIGITS, Predictions
from tests.builders import drawn_predictions, refused, write_images

POOR = [1.0, 1.1]


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch) -> Predictions:
    """Radiographs in the working directory, and predictions of them."""
    monkeypatch.chdir(tmp_path)
    predictions = drawn_predictions(POOR)
    write_images(predictions)
    return predictions


def on_test(a: Predictions, b: Predictions) -> Comparison:
    return compare_runs(a, b, "unpaired", (None, None))[0]


def heights(path: str, level: int) -> np.ndarray:
    """(n,) the vertical position, in pixels from the top of the figure, of each pixel of a grey level."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return np.argwhere((np.abs(pixels - level) <= 2).all(axis=2))[:, 0]  # matplotlib rounds


def flipped(a: Predictions, rows: list[int]) -> Predictions:
    """`a` with the probabilities of the true class and of the most probable other one swapped in `rows`."""
    ensemble = a.ensemble.copy()
    for i in np.flatnonzero(np.isin(a.rows, rows)):
        truth = a.labels[i]
        other = np.argsort(np.where(np.arange(len(a.classes)) == truth, -1, ensemble[i]))[-1]
        ensemble[i, [truth, other]] = ensemble[i, [other, truth]]
    return replace(a, ensemble=ensemble)


@pytest.mark.parametrize("classes", [2, 3])
def test_images_with_another_decision_are_shown_and_no_others(classes):
    a = drawn_predictions(POOR, classes=classes)
    split = on_test(a, flipped(a, list(range(1110, 1130))))
    assert min(len(split.newly_misclassified), len(split.newly_correct)) > 0
    images = np.full((1300, 16, 16), 200, np.uint8)
    images[split.a.rows[split.newly_misclassified]] = 60
    images[split.a.rows[split.newly_correct]] = 120
    draw_contact_sheet("sheet.png", split, images)
    misclassified, correct, others = (heights("sheet.png", level) for level in (60, 120, 200))
    one = len(correct) / len(split.newly_correct)
    assert len(misclassified) / one == pytest.approx(len(split.newly_misclassified), rel=0.02)
    assert one > 100 * 100
    assert len(others) < one / 2  # specks of the letters
    assert np.median(misclassified) < np.median(correct)


def test_of_many_the_most_changed_are_shown():
    a = drawn_predictions(POOR)
    split = on_test(a, flipped(a, a.rows.tolist()))
    rows = split.a.rows[split.newly_misclassified]
    assert len(rows) > contact_sheet.SHOWN
    images = np.full((1300, 16, 16), 200, np.uint8)
    images[rows[: contact_sheet.SHOWN]] = 60
    images[rows[contact_sheet.SHOWN :]] = 120
    draw_contact_sheet("sheet.png", split, images)
    shown, hidden = heights("sheet.png", 60), heights("sheet.png", 120)
    assert len(hidden) < len(shown) / contact_sheet.SHOWN / 2


def test_equal_content_gives_equal_bytes_even_without_any_changed_decision(data):
    split = on_test(data, data)
    images = contact_sheet.images_of([split])
    for name in ("first.png", "second.png"):
        draw_contact_sheet(name, split, images)
    assert Path("first.png").read_bytes() == Path("second.png").read_bytes()


@pytest.mark.parametrize("path", [dataset.IMAGES, dataset.LABELS])
def test_missing_images_are_an_error(data, path):
    path.unlink()
    with refused(f"{path}: no data set here", "dvc repro"):
        contact_sheet.images_of([on_test(data, data)])


@pytest.mark.parametrize(
    "change",
    [
        lambda p: replace(p, rows=p.rows + 1),
        lambda p: replace(p, rows=p.rows - 1),
        lambda p: replace(p, labels=1 - p.labels),
        lambda p: replace(p, classes=["normal", "diseased"]),
    ],
)
def test_images_of_another_data_set_are_an_error(data, change):
    assert len(contact_sheet.images_of([on_test(data, data)])) == 1300
    other = change(data)
    with refused("metrics/predictions.csv does not belong to data/labels.csv: other ", "dvc repro split"):
        contact_sheet.images_of([on_test(other, other)])


def test_images_are_found_by_their_hash(data):
    """Although the rows are those of another data set."""
    places = {row["row"]: row["sha256"][:DIGITS] for row in read_csv(dataset.LABELS)}
    hashes = np.array([places[str(row)] for row in data.rows])
    other = replace(data, rows=data.rows[::-1], hashes=hashes)
    images = contact_sheet.images_of([on_test(other, other)])
    for row, original in zip(other.of("test").rows[:5], data.of("test").rows[:5], strict=True):
        assert images[row][0, 0] == original % 256
    unknown = replace(other, hashes=np.array(["0" * DIGITS] * len(hashes)))
    with refused("data/labels.csv: without radiographs of test that are compared", "leave out --sheet"):
        contact_sheet.images_of([on_test(unknown, unknown)])


def test_differences_are_drawn_above_the_images():
    """In grey where they are inconclusive (`cxr.figures.differences`)."""
    good, poor = drawn_predictions([3.0, 3.1, 3.2], seed=1), drawn_predictions([1.0, 1.1, 0.9])
    images = np.full((1300, 16, 16), 200, np.uint8)
    draw_contact_sheet("better.png", on_test(poor, good), images)
    draw_contact_sheet("equal.png", on_test(good, drawn_predictions([3.0, 3.1, 3.2], seed=2)), images)
    grey, colour = (len(heights(name, 153)) for name in ("equal.png", "better.png"))  # style.GREY
    assert grey > 1.5 * colour
