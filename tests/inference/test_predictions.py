"""predictions.csv is read as it was written, and predictions of another data set are an error."""

from dataclasses import fields, replace

import numpy as np
import pytest

from cxr.core.dataset import load_dataset
from cxr.inference import predictions
from cxr.inference.predictions import (
    Predictions,
    check_predictions,
    load_predictions,
    parse_predictions,
    save_predictions,
)
from tests.builders import drawn_predictions, refused, write_images


@pytest.fixture
def run(tmp_path, monkeypatch) -> Predictions:
    """Predictions of two members, of three classes, and the data set that they belong to."""
    monkeypatch.chdir(tmp_path)
    drawn = drawn_predictions([1.0, 2.0], images=60, classes=3)
    save_predictions(drawn)
    write_images(drawn)
    return drawn


def test_text_is_parsed_as_it_was_written(run):
    for read in (parse_predictions(predictions.PATH.read_text()), load_predictions()):
        assert read.classes == run.classes
        assert read.members.shape == (2, 60, 3)
        for field in fields(Predictions)[1:]:
            written, parsed = getattr(run, field.name), getattr(read, field.name)
            if written.dtype.kind == "f":
                np.testing.assert_allclose(parsed, written, rtol=1e-6)
            else:
                np.testing.assert_array_equal(parsed, written)


@pytest.mark.parametrize("split", ["val", "test"])
def test_one_split_has_its_own_rows_of_everything(run, split):
    chosen, inside = run.of(split), run.splits == split
    assert set(chosen.splits) == {split}
    for name in ("rows", "labels", "ensemble"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(run, name)[inside])
    np.testing.assert_array_equal(chosen.members, run.members[:, inside])


@pytest.mark.parametrize(
    "broken",
    [
        lambda text: "",
        lambda text: text.splitlines()[0] + "\n",
        lambda text: text[: -len(text.splitlines()[-1]) + 20],
        lambda text: text.replace("normal", "abnormal", 1),
        lambda text: text.replace("row,", "line,", 1),
        lambda text: text.replace("m0_p_", "m5_p_"),
        lambda text: text.replace("1000,", "a,", 1),
    ],
    ids=["empty", "header", "short line", "class", "column", "member", "number"],
)
def test_another_text_is_an_error(broken, run):
    text = predictions.PATH.read_text()
    assert broken(text) != text
    with pytest.raises(ValueError, match="not a table of predictions"):
        parse_predictions(broken(text))


def test_predictions_of_the_data_set_pass(run):
    data = load_dataset()
    check_predictions(run.of("test"), data)
    check_predictions(run.of("test"), data, members=2)
    check_predictions(run.of("val"), data, split="val")
    check_predictions(run, data, split="val")


@pytest.mark.parametrize("split", ["val", "test"])
def test_predictions_of_another_data_set_are_an_error(run, split):
    data, of_split = load_dataset(), run.of(split)
    for changes, what in (
        ({"rows": of_split.rows + 1}, "rows"),
        ({"splits": np.full(len(of_split.rows), "train")}, "rows"),
        ({"labels": (of_split.labels + 1) % 3}, "labels"),
        ({"classes": ["normal", "pneumonia", "covid"]}, "classes"),
    ):
        with refused(f"metrics/predictions.csv does not belong to data/labels.csv: other {what}; run `dvc"):
            check_predictions(replace(of_split, **changes), data, split=split)
    with refused("other members"):
        check_predictions(of_split, data, members=3, split=split)
    with refused("other rows"):
        check_predictions(run.of("train"), data, split=split)
