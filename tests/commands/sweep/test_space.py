"""Which values a search may try, and which ranges are refused before anything runs."""

from pathlib import Path

import pytest

from cxr.commands.sweep.space import search_space
from tests.builders import refused, write_params


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_params(tmp_path, {})
    monkeypatch.chdir(tmp_path)


def test_ranges_in_the_syntax_of_hydra() -> None:
    space = search_space(
        [
            "train.lr=tag(log,interval(1e-5,1e-2))",
            "train.weight_decay=interval(0,1)",
            "train.epochs=int(interval(2,8))",
            "seed=range(0,9,3)",
            "model.dropout=range(0,0.75,0.25)",
            "train.optimiser=adamw,sgd",
            "train.label_smoothing=choice(0,0.1)",
            "train.members=2",
        ]
    )
    assert space.fixed == ("train.members=2",)
    kinds = {key: type(range_).__name__.removesuffix("Distribution") for key, range_ in space.ranges.items()}
    assert kinds == {
        "train.lr": "Float",
        "train.weight_decay": "Float",
        "train.epochs": "Int",
        "seed": "Int",
        "model.dropout": "Float",
        "train.optimiser": "Categorical",
        "train.label_smoothing": "Categorical",
    }
    ends = {
        key: (range_.low, range_.high, range_.step) for key, range_ in space.ranges.items() if key in ENDS
    }
    assert ends == ENDS
    assert [key for key, range_ in space.ranges.items() if getattr(range_, "log", False)] == ["train.lr"]
    assert space.ranges["train.label_smoothing"].choices == ("0", "0.1")


# The end of `range` is not in it, as in Python and in a grid.
ENDS = {
    "train.lr": (1e-5, 1e-2, None),
    "train.weight_decay": (0, 1, None),
    "train.epochs": (2, 8, 1),
    "seed": (0, 6, 3),
    "model.dropout": (0, 0.5, 0.25),
}


def test_values_become_changes() -> None:
    space = search_space(["train.lr=interval(0.001,0.1)", "seed=3", "train.optimiser=adamw,sgd"])
    changes = space.changes({"train.lr": 0.00123456, "train.optimiser": "sgd"})
    assert changes == ("seed=3", "train.lr=0.001235", "train.optimiser=sgd")
    assert space.digest == search_space([*reversed(space.fixed), *RANGES]).digest
    assert space.digest != search_space(["seed=4", *RANGES]).digest


RANGES = ("train.optimiser=adamw,sgd", "train.lr=interval(0.001,0.1)")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("train.lr=interval(-1,1)", ("-S train.lr=-1", "above 0")),
        ("model.dropout=interval(0,1.5)", ("-S model.dropout=1.5", "allowed")),
        ("train.optimiser=adamw,adamax", ("-S train.optimiser=adamax", "allowed")),
        ("train.lrr=interval(0,1)", ("-S train.lrr=0", "Could not override")),
        ("train.lr=tag(log,interval(0,1))", ("-S train.lr=tag(log,interval(0,1))", "low > 0")),
        ("train.lr=interval(1,0.1)", ("-S train.lr=interval(1,0.1)", "low <= high")),
        ("seed=range(3,3)", ("-S seed=range(3,3)", "empty")),
        ("train.lr=interval(1,", ("-S train.lr=interval(1,", "not a range")),
        ("train.lr=0.1", ("--trials", "name a range")),
    ],
)
def test_a_range_that_cannot_run_is_refused_before_any_does(change: str, parts: tuple[str, ...]) -> None:
    with refused(*parts):
        search_space(["train.members=2", change])
