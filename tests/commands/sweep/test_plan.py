"""Which experiments a sweep has, under which names, and which changes are refused before one runs."""

from pathlib import Path

import pytest

from cxr.commands.sweep.plan import plan
from tests.builders import refused, write_params


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_params(tmp_path, {})
    monkeypatch.chdir(tmp_path)


def test_every_combination_has_a_name_of_its_own() -> None:
    planned = plan("rates", ["train.lr=0.001,0.003", "seed=range(0,3)"])
    expected = {(f"train.lr={rate}", f"seed={seed}") for rate in (0.001, 0.003) for seed in range(3)}
    assert {each.changes for each in planned} == expected
    assert len({each.name for each in planned}) == 6
    assert all(each.name.startswith("rates-") for each in planned)


def test_a_name_stays_the_same_in_a_larger_sweep() -> None:
    """So that a sweep can be called again, and extended, without running anything twice."""
    (alone,) = plan("a", ["train.lr=0.001", "seed=1"])
    larger = plan("a", ["seed=0,1", "train.lr=0.001,0.003"])
    assert [set(each.changes) for each in larger if each.name == alone.name] == [set(alone.changes)]


def test_a_list_has_an_experiment_in_each_line_and_the_grid_for_each() -> None:
    Path("list.txt").write_text("train.lr=0.1 seed=1\n# a remark\n\ntrain.lr=0.2  # another\n")
    planned = plan("a", ["model.dropout=0,0.5"], Path("list.txt"))
    assert [each.changes for each in planned] == [
        ("train.lr=0.1", "seed=1", "model.dropout=0"),
        ("train.lr=0.1", "seed=1", "model.dropout=0.5"),
        ("train.lr=0.2", "model.dropout=0"),
        ("train.lr=0.2", "model.dropout=0.5"),
    ]


def test_an_experiment_named_twice_runs_once() -> None:
    Path("list.txt").write_text("seed=1\nseed=2\nseed=1\n")
    assert [each.changes for each in plan("a", [], Path("list.txt"))] == [("seed=1",), ("seed=2",)]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("train.lrr=1", ("-S train.lrr=1", "Could not override")),
        ("train.lr=0.1,-1", ("-S train.lr=-1", "above 0")),
        ("train.lr", ("section.key=value",)),
        ("split.ratios.train=0.5", ("-S split.ratios.train=0.5", "must add up to 1")),
    ],
)
def test_a_change_that_cannot_run_is_refused_before_any_does(change: str, parts: tuple[str, ...]) -> None:
    before = Path("params.yaml").read_bytes()
    with refused(*parts):
        plan("a", ["seed=0", change])
    assert Path("params.yaml").read_bytes() == before


def test_a_list_that_is_missing_or_empty_is_refused() -> None:
    with refused("list.txt: cannot be read"):
        plan("a", [], Path("list.txt"))
    Path("list.txt").write_text("# nothing\n")
    with refused("list.txt: no experiments", "in each line"):
        plan("a", [], Path("list.txt"))
