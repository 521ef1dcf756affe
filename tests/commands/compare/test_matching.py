"""Runs are compared on the images that both have; without any in common there is nothing to compare."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxr.commands.compare.matching import match_images
from cxr.commands.compare.runs import Run, read_run
from cxr.inference.predictions import Predictions
from scripts import workspace
from tests.builders import drawn_predictions, refused, write_run

DATA = drawn_predictions([1.0, 1.2, 1.4])
HASHES = np.array([f"{row:016x}" for row in DATA.rows])
OTHERS = np.array([f"f{row:015x}" for row in DATA.rows])
HASHED = replace(DATA, hashes=HASHES)


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """main has a run without hashes."""
    monkeypatch.chdir(tmp_path)
    workspace.call(tmp_path, "git", "init", "--quiet", "--initial-branch=main")
    write_run(drawn_predictions([1.0, 1.2]))
    workspace.commit(tmp_path, "a run")
    return tmp_path


def run(predictions: Predictions, name: str = "A", size: int = 28) -> Run:
    return Run(name, None, predictions, {"download.size": size}, {})


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"download.source": "phantom"}, "download.source"),
        ({"split.seed": 4}, "split.seed"),
        ({"phantom.seed": 3}, None),  # not the source of the radiographs
        ({"download.size": 64}, None),  # the same radiographs, larger
    ],
)
def test_other_data_without_hashes_are_an_error(repository, changes, key):
    write_run(drawn_predictions([1.0, 1.2]), changes)
    a, b = read_run("main"), read_run(None)
    if key is None:
        match_images(a, b)
    else:
        with refused(
            f"params.yaml: {key}", "at main", "at the workspace", "not the same radiograph", "has no hashes"
        ):
            match_images(a, b)


def test_other_synthetic_radiographs_are_other_images(repository):
    write_run(drawn_predictions([1.0, 1.2]), {"download.source": "phantom", "phantom.seed": 1})
    a = read_run(None)
    write_run(drawn_predictions([1.0, 1.2]), {"download.source": "phantom", "phantom.seed": 2})
    with refused("phantom.seed"):
        match_images(a, read_run(None))


def test_another_question_to_a_table_gives_other_images(repository):
    write_run(drawn_predictions([1.0, 1.2]), {"download.source": "table", "table.positive": "Pneumonia"})
    a = read_run(None)
    write_run(drawn_predictions([1.0, 1.2]), {"download.source": "table", "table.positive": "Edema"})
    with refused("params.yaml: table.positive is Pneumonia", "Edema"):
        match_images(a, read_run(None))


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("rows", lambda p: replace(p, rows=p.rows + 1)),
        ("rows", lambda p: p.of("test")),
        ("splits", lambda p: replace(p, splits=p.splits[::-1])),
        ("labels", lambda p: replace(p, labels=1 - p.labels)),
        (
            "classes, normal, pneumonia and normal, diseased",
            lambda p: replace(p, classes=["normal", "diseased"]),
        ),
    ],
)
def test_other_rows_without_hashes_are_an_error(what, change):
    with refused("metrics/predictions.csv of A and of B", f"other {what}"):
        match_images(run(DATA), run(change(DATA), "B"))


def test_the_same_images_in_another_order_are_all_matched():
    order = np.random.default_rng(0).permutation(len(DATA.rows))
    shuffled = replace(HASHED.at(order), rows=np.arange(len(order)))
    matched = match_images(run(HASHED), run(shuffled, "B"))
    assert matched.notes == []
    np.testing.assert_array_equal(matched.a.members, HASHED.members)
    np.testing.assert_array_equal(matched.b.members, HASHED.members)


def test_images_of_one_run_alone_and_of_another_split_are_left_out_and_counted():
    fewer = HASHED.at(np.arange(len(DATA.rows) - 50))
    fewer.splits[150:160] = "val"  # test in A
    matched = match_images(run(HASHED), run(fewer, "B"))
    assert len(matched.a.of("test").rows) == 200 - 50 - 10
    np.testing.assert_array_equal(matched.a.rows, matched.b.rows)
    by_pixels = "matched by their pixels."
    assert matched.notes == [
        f"Compared on the 140 test radiographs that both runs have (A has 200, B 140), {by_pixels}",
        f"Compared on the 100 val radiographs that both runs have (A has 100, B 110), {by_pixels}",
    ]


def test_replaced_images_under_equal_labels_are_found():
    hashes = np.concatenate([HASHES[:250], OTHERS[250:]])
    matched = match_images(run(HASHED), run(replace(DATA, hashes=hashes), "B"))
    assert len(matched.a.of("test").rows) == 150
    assert "the 150 test radiographs that both runs have (A has 200, B 200)" in matched.notes[0]


def test_images_with_another_label_are_left_out():
    labels = DATA.labels.copy()
    labels[200] = 1 - labels[200]
    matched = match_images(run(HASHED), run(replace(HASHED, labels=labels), "B"))
    assert DATA.rows[200] not in matched.a.rows
    assert len(matched.a.rows) == len(DATA.rows) - 1
    assert matched.notes[-1] == "1 radiographs have another label in B than in A and are left out."


def test_copies_of_an_image_are_matched_one_to_one():
    hashes = HASHES.copy()
    hashes[201] = hashes[200]
    twice = replace(DATA, hashes=hashes, labels=np.arange(len(hashes)) // 2 % 2)
    once = twice.at(np.delete(np.arange(len(hashes)), 201))
    assert len(match_images(run(twice), run(twice, "B")).a.rows) == len(hashes)
    assert len(match_images(run(twice), run(once, "B")).a.rows) == len(hashes) - 1


@pytest.mark.parametrize("labels", [None, 0])
def test_nothing_in_common_or_one_class_alone_is_an_error(labels):
    hashes = OTHERS if labels is None else np.where(DATA.labels == labels, HASHES, OTHERS)
    message = "no test radiograph in common" if labels is None else "0 radiographs of pneumonia in common"
    with refused("metrics/predictions.csv of A and of B", message):
        match_images(run(HASHED), run(replace(DATA, hashes=hashes), "B"))


def test_the_same_images_in_another_size_are_matched_by_row():
    larger = replace(DATA, hashes=OTHERS)
    assert len(match_images(run(HASHED), run(larger, "B", size=64)).a.rows) == len(DATA.rows)
    with refused("other rows", "download.size differs"):
        match_images(run(HASHED), run(replace(larger, rows=larger.rows + 1), "B", size=64))
