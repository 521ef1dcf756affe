"""docs/test_ledger.md is what its data file says."""

import datetime
import re

import pytest

from cxr.reports.ledger import Ledger, Reading, load_ledger
from scripts import test_ledger as script
from tests.builders import ROOT


def test_the_page_is_that_of_the_data_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    if script.page(load_ledger()) != script.PAGE.read_text(encoding="utf-8"):
        pytest.fail(
            "docs/test_ledger.md is not that of docs/test_ledger.yaml; run `make readme`", pytrace=False
        )


def test_a_row_has_what_is_known_in_as_many_cells_as_the_head() -> None:
    rejected = Reading(
        date=datetime.date(2026, 1, 1),
        kind="candidate",
        run="A | B.",
        auc=0.98,
        note="p < .05",
        decision="Rejected",
        source="docs/x.md",
    )
    described = rejected.replace(commit="0123456", decision="none", accuracy=0.9, note="", run="C")
    text = script.page(Ledger("phantom", (rejected, described)))
    assert "Test set: `phantom`. Readings: 2; a decision followed 1 of them." in text
    head, _, first, second = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    cells = [re.split(r" ?(?<!\\)\| ?", line)[1:-1] for line in (head, first, second)]
    assert {len(line) for line in cells} == {10}
    assert cells[1] == [
        *("1", "2026-01-01", "", "candidate", r"A \| B. p < .05.", "0.9800", "", "", "Rejected", "docs/x.md")
    ]
    assert cells[2][:6] == ["2", "2026-01-01", "`0123456`", "candidate", "C.", "0.9800"]
    assert cells[2][6:9] == ["0.9000", "", "none: description only"]
