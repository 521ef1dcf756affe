"""The estimates of docs/scale.md are those of docs/scale.yaml, and follow from it."""

from pathlib import Path

import pytest

from scripts import scale_estimate
from scripts.scale_estimate import BEGIN, END, estimate, load_constants, rounded, tables, with_estimate
from tests.builders import ROOT, refused


@pytest.fixture(autouse=True)
def in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_page_is_that_of_the_constants() -> None:
    text = scale_estimate.PAGE.read_text(encoding="utf-8")
    if with_estimate(text, load_constants()) != text:
        pytest.fail(
            f"{scale_estimate.PAGE}: out of date; run `python -m scripts.scale_estimate`", pytrace=False
        )


def test_steps_are_proportional_to_the_number_of_images() -> None:
    values = {name: float(each["value"]) for name, each in load_constants().items()}
    for one, ten in zip(estimate(values), estimate(values | {"images": 10 * values["images"]}), strict=True):
        for quantity in ("bytes", "core_hours", "gpu_hours"):
            assert getattr(ten, quantity) == pytest.approx(10 * getattr(one, quantity))


def test_hours_and_money_of_a_million_radiographs() -> None:
    """By hand: 1e6 radiographs of 0.036 s each are 10 core hours; 1e6 of 1,000 bytes are 1 GB."""
    constants = load_constants()
    changes = {
        "images": 1e6,
        "original_bytes": 1000,
        "reading_s": 0.036,
        "core_hour": 0.1,
        "gigabyte_month": 2,
    }
    for name, value in (changes | {"core_hour": 0.1, "gigabyte_month": 2}).items():
        constants[name] = {"value": value, "source": "test"}
    rows = {line.split("|")[1].strip(): line.split("|")[3:-1] for line in tables(constants) if "|" in line}
    originals, stored = (
        [cell.strip() for cell in next(cells for step, cells in rows.items() if step.startswith(start))]
        for start in ("originals", "`download`")
    )
    assert originals == ["0.001", "", "", "", "2"]
    assert stored[1:4] == ["10", "", "1"]


def test_every_formula_names_constants() -> None:
    constants = load_constants()
    values = {name: float(each["value"]) for name, each in constants.items()}
    for cost in estimate(values):
        names = {word.strip("();^2") for word in cost.formula.replace("/", " ").split()}
        assert {name for name in names if "_" in name or name in ("images", "dimensions")} <= set(constants)


def test_a_page_without_marks_is_an_error(tmp_path: Path) -> None:
    with refused("docs/scale.md", BEGIN.strip(), END.strip()):
        with_estimate("# Several machines\n", load_constants())


@pytest.mark.parametrize(("value", "text"), [(0.0, ""), (1234567.0, "1,200,000"), (0.01234, "0.012")])
def test_two_digits_count(value: float, text: str) -> None:
    assert rounded(value) == text
